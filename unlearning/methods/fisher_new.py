"""Fisher forgetting by batches: the cheap form in the code of the feasible updates paper (arXiv:2511.02435)."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ..gradients.vectors import flatten, trainable
from ..types import Batch, NonNegative
from .fisher import Fisher


class FisherNew(Fisher):
    """Add the noise of ``fisher``, with the information of whole batches in place of that of single samples.

    ``F`` is the mean over retain batches b of ``sum_y p_b(y) (d CE(b, y) / dw)^2``, where ``p_b(y)`` is the mean of the
    probabilities that the batch's samples give class y, and ``CE(b, y)`` their mean cross-entropy if y were the label
    of all. This takes one backward pass for each class and batch. With batches of one sample it is the exact
    information; in larger ones gradients cancel, so that F is smaller and a suitable alpha smaller, too.

    Args:
        model: as in ``Method``, like the other options; ``batch_size`` affects the result.
        alpha, head_factor: as in ``Fisher``.
    """

    def __init__(self, model: nn.Module, alpha: NonNegative = 1e-8, **options: Any) -> None:
        super().__init__(model, alpha, **options)

    def observe(self, stream: str, batch: Batch) -> None:
        weights = trainable(self.model)
        logits = self.model(batch.images)
        chances = self.averaged(logits.detach().softmax(-1).mean(0))
        for label, chance in enumerate(chances):
            loss = F.cross_entropy(logits, torch.full_like(batch.ids, label))
            gradients = torch.autograd.grad(loss, weights, retain_graph=True, materialize_grads=True)
            self.add("fisher", self.averaged(flatten(gradients)).square() * chance)
        self.add("terms", torch.ones((), device=self.device))
