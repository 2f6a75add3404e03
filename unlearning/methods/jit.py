"""Just-in-Time unlearning (Foster et al., 2024, arXiv:2402.01401)."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..data.feed import Feed
from ..data.noise import Noise, perturbed
from ..errors import UserError
from ..runtime.distributed import number_of_processes
from ..types import Batch, Count, Positive
from .base import Method

# Images in one pass. The bound limits the memory, and larger batches fall out of a CPU's cache: 3,200 images at once
# take 3 times as long.
STACK = 256


class JiT(Method):
    """Flatten the model around the forget images by minimising its local Lipschitz estimate.

    ``L = sum_b (1/n) sum_k |f(x_b) - sg f(x_b^k)| / |x_b - x_b^k|`` with ``x_b^k = clamp(x_b + sigma N(0, 1))`` to the
    range of the batch and no gradient through the perturbed copies. The method sees forget images only: no labels and
    no retain data. The authors' code keeps gradients from batch to batch, and the published rates are for that; SGD
    with momentum 1 does the same. A network that resizes its input gets the noise before that, theirs after it.

    Args:
        model: as in ``Method``, like the other options.
        sigma: size of the perturbation; see ``perturbed``.
        copies: n, perturbed copies of each image.
        noise: ``gaussian``, ``uniform`` or ``salt_and_pepper``.
        reduction: ``sum`` or ``mean`` over the batch; with ``mean`` the learning rate does not depend on its size.

    Raises ``UserError`` for salt-and-pepper noise of a sigma above 1: it is the fraction of the pixels.
    """

    feed = Feed(streams=("forget",), labels=False, augment=False)

    def __init__(
        self,
        model: nn.Module,
        sigma: Positive = 0.5,
        copies: Count = 25,
        noise: Noise = "gaussian",
        reduction: Literal["sum", "mean"] = "sum",
        **options: Any,
    ) -> None:
        super().__init__(model, **options)
        if noise == "salt_and_pepper" and sigma > 1:
            raise UserError(
                f"method.sigma={sigma} is the fraction of the pixels that salt_and_pepper changes: it must be at most "
                "1",
                key="method.sigma",
            )
        self.sigma, self.copies, self.noise, self.reduction = sigma, copies, noise, reduction

    def forget_loss(self, batch: Batch) -> Tensor:
        images = batch.images
        logits = self.model(images)
        total = torch.zeros((), device=images.device)
        at_once = max(1, STACK // len(images))
        for done in range(0, self.copies, at_once):
            n = min(at_once, self.copies - done)
            clean = images.repeat(n, *[1] * (images.ndim - 1))
            with torch.no_grad():
                noisy = perturbed(clean, self.sigma, self.noise)
                distances = (clean - noisy).flatten(1).norm(dim=1).unflatten(0, (n, -1))
                targets = self.model(noisy).unflatten(0, (n, -1))
            # A copy that the noise left unchanged carries no information, but its logits may differ in the last bits
            # because it is in another batch. Both its term and its gradient count as 0.
            moved = distances > 0
            gaps = torch.where(moved[..., None], logits - targets, 0.0)
            total = total + (gaps.norm(dim=2) / distances.where(moved, 1.0)).sum()  # over (n, B)
        estimate = total / self.copies
        # Processes share a batch and average their gradients, so the sum over the batch is that average times their
        # number.
        return estimate * number_of_processes() if self.reduction == "sum" else estimate / len(images)
