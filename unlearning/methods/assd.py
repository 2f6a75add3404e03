"""Adaptive selective synaptic dampening (Schoepf et al., 2024, arXiv:2402.10098)."""

from math import log
from typing import Any

from torch import Tensor, nn

from ..gradients.importance import percentile, sorted_ratios
from ..types import Percentage
from .dampening import Dampening


class ASSD(Dampening):
    """SSD that chooses ``alpha`` from the share of the data to be forgotten.

    ``alpha`` is the p-th percentile of ``I_f / I_ref`` over all weights, except those without importance to the
    reference, with ``p = 100 - ln(1 + 100 |D_f| / |D|)``. ``lam`` is 1, so a weight that matters to the forget set
    alone becomes 0. The reference is the retain set.

    Args:
        model: as in ``Method``.
        percentile: p; by default (None) it follows the formula.
        options: those of ``Dampening``.
    """

    stronger = {"percentile": "smaller"}

    def __init__(self, model: nn.Module, percentile: Percentage | None = None, **options: Any) -> None:
        super().__init__(model, **options)
        self.percentile = percentile

    def threshold(self, forget: Tensor, reference: Tensor) -> Tensor:
        percent = percentile_for(self.forget_share) if self.percentile is None else self.percentile
        return percentile(sorted_ratios(forget, reference), percent)


def percentile_for(share: float) -> float:
    """The percentile of the ratios above which weights are dampened, to forget this share of the training set."""
    return 100 - log(1 + 100 * share)
