"""l1-sparse unlearning (Jia et al., NeurIPS 2023, arXiv:2304.04934)."""

import lightning as L
from torch import Tensor

from ..errors import UserError
from ..gradients.vectors import trainable
from .base import Addon


class L1(Addon):
    """Adds ``weight_t ||theta||_1`` to the loss, ``weight_t`` falling linearly from ``weight`` to 0 over the epochs.

    ``weight_t = weight (1 - t / (E - free))`` in epoch t = 0, 1, ... of E; the last ``free`` epochs have no penalty. In
    a method of alternating passes, each pass is an epoch.
    """

    def __init__(self, weight: float = 5e-4, free: int = 0) -> None:
        if min(weight, free) < 0:
            raise UserError(f"addon.l1: weight={weight} and free={free} must not be negative")
        self.weight, self.free = weight, free

    def check(self, method: L.LightningModule) -> None:
        super().check(method)
        if self.free >= method.passes:
            raise UserError(
                f"addon.l1.free={self.free} leaves none of the {method.passes} epochs with a penalty: take fewer"
            )

    def weight_at(self, epoch: int, epochs: int) -> float:
        penalised = epochs - self.free
        return self.weight * (1 - epoch / penalised) if epoch < penalised else 0.0

    def penalty(self, method: L.LightningModule) -> Tensor | float:
        weight = self.weight_at(method.current_epoch, method.trainer.max_epochs)
        return weight * sum(p.abs().sum() for p in trainable(method.model)) if weight else 0.0
