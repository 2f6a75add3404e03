"""Selective Synaptic Dampening (Foster et al., AAAI 2024, arXiv:2308.07707)."""

from typing import Literal

from torch import Tensor, nn

from ..errors import UserError
from .dampening import Dampening


class SSD(Dampening):
    """Dampen the weights whose squared cross-entropy gradients are ``alpha`` times as large on the forget set.

    The reference is the whole training set (the paper) or the retain set. See ``Dampening`` for the importances. The
    forget set is a part of the training set, so per sample ``I_D >= I_f |D_f| / |D|``: against the training set no
    alpha above ``|D| / |D_f|`` selects any weight.
    """

    def __init__(
        self,
        model: nn.Module,
        alpha: float = 10.0,
        lam: float = 1.0,
        reference: Literal["train", "retain"] = "train",
        **options: object,
    ) -> None:
        super().__init__(model, reference=reference, **options)
        if alpha <= 0 or lam < 0:
            raise UserError(f"method.alpha={alpha}, lam={lam}: alpha must be above 0 and lam at least 0")
        self.alpha, self.lam = alpha, lam

    def threshold(self, forget: Tensor, reference: Tensor) -> float:
        return self.alpha
