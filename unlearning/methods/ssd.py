"""Selective Synaptic Dampening (Foster et al., AAAI 2024, arXiv:2308.07707)."""

from typing import Any, Literal

from torch import Tensor, nn

from ..types import NonNegative, Positive
from .dampening import Dampening


class SSD(Dampening):
    """Dampen the weights whose squared cross-entropy gradients are ``alpha`` times as large on the forget set.

    The reference is the whole training set (the paper) or the retain set. See ``Dampening`` for the importances. The
    forget set is a part of the training set, so per sample ``I_D >= I_f |D_f| / |D|``: against the training set no
    alpha above ``|D| / |D_f|`` selects any weight. By batch with ``order=retain_first`` the batches of the forget set
    are among those of the training set, up to the batch that has samples of both, so hardly any weight is selected
    above the ratio of their numbers. The authors' code takes this order for classes and sub-classes.

    Args:
        model: as in ``Method``.
        alpha: the ratio of importances above which a weight is dampened.
        lam: factor of the dampened weights; see ``Dampening``.
        reference: the whole training set, or the retain set.
        options: those of ``Dampening``.
    """

    stronger = {"alpha": "smaller", "lam": "smaller"}

    def __init__(
        self,
        model: nn.Module,
        alpha: Positive = 10.0,
        lam: NonNegative = 1.0,
        reference: Literal["train", "retain"] = "train",
        **options: Any,
    ) -> None:
        super().__init__(model, reference=reference, **options)
        self.alpha, self.lam = alpha, lam

    def threshold(self, forget: Tensor, reference: Tensor) -> float:
        return self.alpha
