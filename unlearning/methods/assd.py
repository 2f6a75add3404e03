"""Adaptive selective synaptic dampening (Schoepf et al., 2024, arXiv:2402.10098)."""

from math import log

from torch import Tensor, nn

from ..errors import UserError
from ..gradients.importance import percentile, sorted_ratios
from .dampening import Dampening


class ASSD(Dampening):
    """SSD that chooses its own ``alpha``, from the share of the data that is to be forgotten.

    ``alpha`` is the p-th percentile of ``I_f / I_ref`` over all weights (those without importance to the reference left
    out) with ``p = 100 - ln(1 + 100 |D_f| / |D|)``; ``lam`` is 1, so a weight that matters to the forget set alone
    becomes 0. The reference is the retain set.

    Args:
        model: as in ``Method``.
        percentile: p, in [0, 100]; the formula where it is None.
        options: of ``Dampening``.
    """

    def __init__(self, model: nn.Module, percentile: float | None = None, **options: object) -> None:
        super().__init__(model, **options)
        if percentile is not None and not 0 <= percentile <= 100:
            raise UserError(f"method.percentile={percentile} must lie in [0, 100], or be null to follow the forget set")
        self.percentile = percentile

    def threshold(self, forget: Tensor, reference: Tensor) -> Tensor:
        percent = percentile_for(self.forget_share) if self.percentile is None else self.percentile
        return percentile(sorted_ratios(forget, reference), percent)


def percentile_for(share: float) -> float:
    """The percentile of the ratios above which weights are dampened, to forget this share of the training set."""
    return 100 - log(1 + 100 * share)
