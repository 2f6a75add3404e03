"""Just-in-Time unlearning (Foster et al., 2024, arXiv:2402.01401)."""

from typing import Literal

import torch
from torch import Tensor, nn

from ..data.noise import Noise, perturbed
from ..errors import UserError
from ..runtime.distributed import number_of_processes
from ..types import Batch
from .base import Method

# Images at once: it bounds the memory, and larger batches fall out of a CPU's cache (3,200 take 3 times as long).
STACK = 256


class JiT(Method):
    """Flatten the model around the forget images by minimising its local Lipschitz estimate.

    ``L = sum_b (1/n) sum_k |f(x_b) - sg f(x_b^k)| / |x_b - x_b^k|`` with ``x_b^k = clamp(x_b + sigma N(0, 1))`` to the
    range of the batch and no gradient through the perturbed copies. It sees forget images only: no labels, no retain
    data. Gradients that are kept from batch to batch, as the authors' code keeps them, are SGD with momentum 1.

    Args:
        model: as in ``Method``; so are the options.
        sigma: size of the perturbation; see ``perturbed``.
        copies: n, perturbed copies of each image.
        noise: ``gaussian``, ``uniform`` or ``salt_and_pepper``.
        reduction: ``mean`` takes the mean over the batch, so that the learning rate does not scale with its size.
    """

    streams = ("forget",)
    sees_labels = False
    augment = False

    def __init__(
        self,
        model: nn.Module,
        sigma: float = 0.5,
        copies: int = 25,
        noise: Noise = "gaussian",
        reduction: Literal["sum", "mean"] = "sum",
        **options: object,
    ) -> None:
        super().__init__(model, **options)
        if sigma <= 0 or copies < 1 or (noise == "salt_and_pepper" and sigma > 1):
            raise UserError(
                f"method.sigma={sigma}, copies={copies}: sigma must be above 0 (at most 1 for salt_and_pepper, whose "
                "share of pixels it is) and copies at least 1"
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
            # A copy that the noise left as it was tells nothing, but its logits need not be bit-equal: the batch is
            # another one. It counts as 0, and so does its gradient.
            moved = distances > 0
            gaps = torch.where(moved[..., None], logits - targets, 0.0)
            total = total + (gaps.norm(dim=2) / distances.where(moved, 1.0)).sum()  # over (n, B)
        estimate = total / self.copies
        # Processes share a batch and average their gradients: the sum over the batch is so many times that average.
        return estimate * number_of_processes() if self.reduction == "sum" else estimate / len(images)
