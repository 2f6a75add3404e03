"""MSG, in the form that the feasible updates paper (arXiv:2511.02435) has among its baselines."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from ..data.feed import Feed
from ..gradients.importance import percentile
from ..gradients.vectors import trainable
from ..runtime.common_random import CommonRandom
from ..types import Batch, Fraction
from .finetune import FineTune


class MSG(FineTune):
    """Disturb the weights that matter least to both forget and retain data, then fine-tune on the retain set.

    ``A = sum_b min(|g_r|, |g_f|)`` over pairs b of a forget and a retain batch, where g are the gradients of their
    cross-entropy, in eval mode. In each tensor the weights with A at or below its ``share`` quantile are multiplied by
    N(0, 1). There are as many pairs as the smaller of the two sets has batches of the size that steps draw. Weights
    that an add-on holds stay as they are, and the quantile is that of the others.

    Args:
        model: as in ``Method``, like the other options.
        share: the fraction of the free weights that is disturbed, in each tensor.
    """

    feed = Feed(streams=("retain",), looks=("forget",))
    stronger = {}  # its steps repair

    def __init__(self, model: nn.Module, share: Fraction = 0.3, **options: Any) -> None:
        super().__init__(model, **options)
        self.share = share

    def on_train_start(self) -> None:
        if not self.resumed:
            self.disturb()

    def drawn_batches(self, stream: str) -> Iterator[Batch]:
        """One pass over a stream in batches of the size that steps draw, in random order, un-augmented.

        The order is random so that batches mix the classes.
        """
        return self.look(stream, shuffle=self.shuffler(), batch_size=self.batch_size(stream))

    def disturb(self) -> None:
        """Multiply the weights that matter least by normal numbers."""
        with self.meter.item("reset"):
            self.model.eval()
            weights = trainable(self.model)
            common = [torch.zeros_like(w) for w in weights]
            for pair in zip(self.drawn_batches("forget"), self.drawn_batches("retain"), strict=False):
                sizes = [
                    torch._foreach_abs(torch.autograd.grad(self.retain_loss(b), weights, materialize_grads=True))
                    for b in pair
                ]
                torch._foreach_add_(common, torch._foreach_minimum(*sizes))
            generator = CommonRandom("msg").on(self.device)
            with torch.no_grad():
                for (weight, free), size in zip(self.free().items(), common, strict=True):
                    noise = torch.randn(weight.shape, generator=generator, device=weight.device, dtype=weight.dtype)
                    if free.any():
                        small = size <= percentile(size[free].sort().values, 100 * self.share)
                        weight.mul_(torch.where(small & free, noise, 1.0))
