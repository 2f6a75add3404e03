"""Label smoothing (Szegedy et al., CVPR 2016, arXiv:1512.00567, section 7)."""

import lightning as L

from ..errors import UserError
from .base import Addon


class LabelSmoothing(Addon):
    """Smooth the labels in every cross-entropy of the method, on forget as on retain data.

    A label counts ``1 - share + share / C`` for its own class and ``share / C`` for each other one of C. Losses without
    labels, such as divergences from a teacher, stay as they are; a method that has no others is refused.
    """

    def __init__(self, share: float = 0.1) -> None:
        if not 0 < share < 1:
            raise UserError(f"addon.label_smoothing.share={share} must lie between 0 and 1")
        self.share = share

    def check(self, method: L.LightningModule) -> None:
        if method.lacks_labels:
            raise UserError(f"label_smoothing has nothing to smooth: {type(method).__name__} {method.lacks_labels}")

    def on_train_start(self, trainer: L.Trainer, method: L.LightningModule) -> None:
        method.label_smoothing = self.share
