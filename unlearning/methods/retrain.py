"""Training from scratch: how original and retrained models come to be, and the gold standard as a method."""

from typing import Literal

from torch import nn

from .base import Method


class Retrain(Method):
    """Re-initialise every parameter and buffer, then train with cross-entropy on the retain set.

    As a method it differs from the retrained reference model in its random seed alone, so its gaps are the noise floor
    of the others'. With ``stream="train"`` it trains on everything: this is how original models are made.
    """

    def __init__(self, model: nn.Module, stream: Literal["retain", "train"] = "retain", **options: object) -> None:
        super().__init__(model, **options)
        self.streams = (stream,)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.model.load_state_dict(self.task.starting_model().state_dict())
