"""Fisher forgetting by batches: the cheap form in the code of the feasible updates paper (arXiv:2511.02435)."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..gradients.vectors import flatten, parts, trainable
from ..types import Batch, Positive
from .one_shot import OneShot


class FisherNew(OneShot):
    """Add noise to the weights: the less a weight matters to batches of the retain set, the more noise.

    ``w <- w + min(sqrt(alpha / F), limit) N(0, 1)`` with F the mean over retain batches of the squared gradient of the
    batch's mean cross-entropy. It takes one backward pass, where the exact information of ``fisher`` takes one for
    every class. Because gradients cancel within a batch, F is smaller than that of single samples by about the batch
    size, and so is a suitable alpha.

    Args:
        model: as in ``Method``, like the other options; ``batch_size`` affects the result.
        alpha: scale of the variance.
        limit: the largest standard deviation, for weights that no batch uses; by default that of ``fisher``.
    """

    feed = replace(OneShot.feed, streams=("retain",))
    stronger = {"alpha": "larger"}

    def __init__(self, model: nn.Module, alpha: Positive = 1e-8, limit: Positive = 0.03, **options: Any) -> None:
        super().__init__(model, **options)
        self.alpha, self.limit = alpha, limit

    def observe(self, stream: str, batch: Batch) -> None:
        loss = F.cross_entropy(self.model(batch.images), batch.targets)
        gradients = torch.autograd.grad(loss, trainable(self.model), materialize_grads=True)
        self.add("squares", self.averaged(flatten(gradients)).square())
        self.add("batches", torch.ones((), device=self.device))

    def edit(self) -> None:
        weights = trainable(self.model)
        information = self.observations["squares"] / self.observations["batches"]
        for weight, deviation in zip(weights, parts(self.deviation(information), weights), strict=True):
            weight.add_(deviation * torch.randn_like(weight))

    def deviation(self, information: Tensor) -> Tensor:
        """Standard deviation of the noise, in the shape of the information."""
        return (self.alpha / information).sqrt_().clamp_max_(self.limit)
