"""NegGrad+ (Kurmanji et al., NeurIPS 2023, arXiv:2302.09880)."""

from torch import Tensor

from ..types import Batch
from .base import Method


class NegGradPlus(Method):
    """Ascend on the forget set while descending on the retain set: ``b CE_retain - (1 - b) CE_forget``.

    ``b`` is ``retain_weight`` and ``1 - b`` is ``forget_weight``.
    """

    def forget_loss(self, batch: Batch) -> Tensor:
        return -self.cross_entropy(self.model(batch.images), batch.labels)
