"""l1-sparse unlearning (Jia et al., NeurIPS 2023, arXiv:2304.04934)."""

from __future__ import annotations

from torch import Tensor

from ..errors import UserError
from ..gradients.vectors import trainable
from ..types import CountOrNone, NonNegative, Steps
from .base import Addon


class L1(Addon):
    """Add ``weight_t ||theta||_1`` to the loss, where ``weight_t`` falls linearly from ``weight`` to 0 over the run.

    ``weight_t = weight (1 - t / (E - free))`` in epoch t = 0, 1, ... of E; the last ``free`` epochs have no penalty. In
    a method of several phases, every pass of each phase counts as an epoch.

    Args:
        weight: the weight of the penalty in the first epoch.
        free: how many epochs at the end have no penalty.
    """

    def __init__(self, weight: NonNegative = 5e-4, free: CountOrNone = 0) -> None:
        self.weight, self.free = weight, free

    def check(self, method: Steps) -> None:
        super().check(method)
        if self.free >= method.passes:
            raise UserError(
                f"addon.l1.free={self.free} leaves no penalty in any of the {method.passes} epochs: use fewer",
                key="addon.l1.free",
            )

    def weight_at(self, epoch: int, epochs: int) -> float:
        """``weight_t`` in an epoch, counted from 0, of ``epochs`` in all."""
        penalised = epochs - self.free
        return self.weight * (1 - epoch / penalised) if epoch < penalised else 0.0

    def penalty(self, method: Steps) -> Tensor | float:
        weight = self.weight_at(method.current_epoch, method.passes)
        return weight * sum(p.abs().sum() for p in trainable(method.model)) if weight else 0.0
