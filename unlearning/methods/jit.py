"""Just-in-Time unlearning (Foster et al., 2024, arXiv:2402.01401)."""

from typing import Literal

import torch
from torch import Tensor, nn

from ..types import Batch
from .base import Method


class JiT(Method):
    """Flatten the model around the forget images by minimising its local Lipschitz estimate.

    ``L = sum_b (1/n) sum_k |f(x_b) - sg f(x_b^k)| / |x_b - x_b^k|`` with ``x_b^k = clamp(x_b + sigma N(0, 1))`` to the
    range of the batch and no gradient through the perturbed copies. It sees forget images only: no labels, no retain
    data. The n copies pass as one stacked batch. With ``reduction="mean"`` the sum over the batch is a mean, so that
    the learning rate does not scale with the batch size.
    """

    streams = ("forget",)
    sees_labels = False
    augment = False

    def __init__(
        self,
        model: nn.Module,
        sigma: float = 0.5,
        copies: int = 25,
        reduction: Literal["sum", "mean"] = "sum",
        **options: object,
    ) -> None:
        super().__init__(model, **options)
        self.sigma, self.copies, self.reduction = sigma, copies, reduction

    def forget_loss(self, batch: Batch) -> Tensor:
        images = batch.images
        clean = images.repeat(self.copies, *[1] * (images.ndim - 1))
        noisy = torch.randn_like(clean).mul_(self.sigma).add_(clean).clamp_(images.min(), images.max())
        with torch.no_grad():
            targets = self.model(noisy).unflatten(0, (self.copies, -1))
            distances = (clean - noisy).flatten(1).norm(dim=1).unflatten(0, (self.copies, -1))
        # A copy that the clamp left as it was has distance 0 and tells nothing: its ratio is 0 / tiny = 0.
        ratios = (self.model(images) - targets).norm(dim=2) / distances.clamp_min(1e-12)  # (n, B)
        estimate = ratios.mean(0)
        return estimate.sum() if self.reduction == "sum" else estimate.mean()
