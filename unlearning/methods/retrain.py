"""Training from scratch: how original and retrained models come to be, and the gold standard as a method."""

from typing import Literal

import torch
from torch import nn

from .base import Method


class Retrain(Method):
    """Re-initialise every parameter and buffer, then train with cross-entropy on the retain set.

    As a method it differs from the retrained reference model in its random draws alone, so its gaps are the noise floor
    of the others'. With ``stream="train"`` it trains on everything: this is how original models are made.

    Args:
        model: as in ``Method``; so are the options.
        stream: what it trains on.
        redraw: added to the random seed, which the reference model has, too.
    """

    def __init__(
        self, model: nn.Module, stream: Literal["retain", "train"] = "retain", redraw: int = 0, **options: object
    ) -> None:
        super().__init__(model, **options)
        self.streams, self.redraw = (stream,), redraw

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self.resumed:
            return
        if self.redraw:
            torch.manual_seed(torch.initial_seed() + self.redraw)
        self.model.load_state_dict(self.task.starting_model().state_dict())
