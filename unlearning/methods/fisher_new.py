"""Fisher forgetting by batches: the cheap form in the code of the feasible updates paper (arXiv:2511.02435)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError
from ..gradients.vectors import flatten, parts, trainable
from ..types import Batch
from .base import OneShot


class FisherNew(OneShot):
    """Add noise to the weights, the more of it the less a weight matters to batches of the retain set.

    ``w <- w + min(sqrt(alpha / F), limit) N(0, 1)`` with F the mean over retain batches of the squared gradient of the
    batch's mean cross-entropy. That is one backward pass, where the exact information of ``fisher`` takes one for every
    class. As gradients cancel in a batch, F is about its size times smaller than that of samples, and so is a fitting
    alpha.

    Args:
        model: as in ``Method``; so are the options, of which ``batch_size`` decides the result.
        alpha: scale of the variance.
        limit: the largest standard deviation, for weights that no batch uses; by default that of ``fisher``.
    """

    streams = ("retain",)

    def __init__(self, model: nn.Module, alpha: float = 1e-8, limit: float = 0.03, **options: object) -> None:
        super().__init__(model, **options)
        if min(alpha, limit) <= 0:
            raise UserError(f"method.alpha={alpha}, limit={limit}: both must be positive")
        self.alpha, self.limit = alpha, limit

    def observe(self, stream: str, batch: Batch) -> None:
        loss = F.cross_entropy(self.model(batch.images), batch.labels)
        gradients = torch.autograd.grad(loss, trainable(self.model), materialize_grads=True)
        self.add("squares", self.averaged(flatten(gradients)).square())
        self.add("batches", torch.ones((), device=self.device))

    def edit(self) -> None:
        weights = trainable(self.model)
        information = self.observations["squares"] / self.observations["batches"]
        for weight, deviation in zip(weights, parts(self.deviation(information), weights), strict=True):
            weight.add_(deviation * torch.randn_like(weight))

    def deviation(self, information: Tensor) -> Tensor:
        """Of the noise, in the shape of the information."""
        return (self.alpha / information).sqrt_().clamp_max_(self.limit)
