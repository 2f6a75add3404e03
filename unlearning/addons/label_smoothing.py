"""Label smoothing (Szegedy et al., CVPR 2016, arXiv:1512.00567, section 7)."""

from __future__ import annotations

from ..errors import UserError
from ..types import PartialFraction, Steps
from .base import Addon


class LabelSmoothing(Addon):
    """Smooth the labels in every cross-entropy of the method, on forget as on retain data.

    A sample's own class has the target ``1 - share + share / C`` and each of the other C - 1 classes ``share / C``.
    Losses without labels, such as divergences from a teacher, stay as they are; a method that has no others is refused.

    Args:
        share: the probability that is spread evenly over all C classes.
    """

    def __init__(self, share: PartialFraction = 0.1) -> None:
        self.share = share

    def check(self, method: Steps) -> None:
        super().check(method)
        if not method.smooths:
            raise UserError(
                f"label_smoothing has nothing to smooth: no loss of {type(method).__name__} is a cross-entropy with "
                "labels, or all of them have the weight 0",
                key="addon",
                kind="conflict",
            )

    def start(self, method: Steps) -> None:
        method.label_smoothing = self.share
