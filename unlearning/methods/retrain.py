"""Training from scratch: how original and retrained models are made, and the gold standard as a method."""

from typing import Any

import torch
from torch import nn

from ..data.feed import Feed
from .base import Method


class Retrain(Method):
    """Re-initialise every parameter and buffer, then train with cross-entropy on the retain set.

    As a method it differs from the retrained reference model only in its random draws, so its gaps are the noise floor
    of the other methods' gaps. Original models are made in the same way, with all training samples retained.

    Args:
        model: as in ``Method``, like the other options.
        redraw: added to the random seed, which the reference model also has.
    """

    feed = Feed(streams=("retain",))
    replaces = True
    stronger = {}  # more training does no harm

    def __init__(self, model: nn.Module, redraw: int = 0, **options: Any) -> None:
        super().__init__(model, **options)
        self.redraw = redraw

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self.resumed:
            return
        if self.redraw:
            torch.manual_seed(torch.initial_seed() + self.redraw)
        self.model.load_state_dict(self.networks.starting().state_dict())
