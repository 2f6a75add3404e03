"""Fisher forgetting (Golatkar et al., CVPR 2020, arXiv:1911.04933)."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..gradients.fisher import exact_fisher
from ..gradients.vectors import flatten, trainable
from ..types import Batch, NonNegative, Positive, Task
from .classifier import classifier_of
from .one_shot import OneShot


class Fisher(OneShot):
    """Add noise to the weights: the less a weight matters to the retain set, the more noise.

    ``w ~ N(mu, v)`` with mu the original weight and ``v = alpha min(1 / (F + 1e-8), 1e3)``, where F is the exact
    diagonal Fisher information, the mean over retain samples x of ``sum_y p(y|x) (d log p(y|x) / dw)^2``. In tensors of
    two or more dimensions v is averaged over the second one. In the classifier's layer 1e2 replaces 1e3. Where whole
    classes are to be forgotten, their rows of that layer have ``mu = 0, v = 1e-4``. Then v is multiplied by
    ``head_factor`` in the matrix of that layer, and by 10 in vectors (biases, normalisation); so the noise of the
    forgotten rows has a deviation of 0.0316, as in both public codes. BatchNorm statistics are untouched.

    Args:
        model: as in ``Method``, like the other options; ``batch_size`` affects only speed and memory.
        alpha: scale of the variance.
        head_factor: see above. The authors' code has 10; that of SSD has 1 for random and sub-class forgetting.

    Raises ``UserError`` for a network whose last linear layer or convolution is not the classifier's layer.
    """

    # No labels: the expectation is over the labels that the model itself expects.
    feed = replace(OneShot.feed, streams=("retain",), labels=False)
    knows_classes = True
    stronger = {"alpha": "larger"}

    def __init__(
        self, model: nn.Module, alpha: NonNegative = 1e-6, head_factor: Positive = 10.0, **options: Any
    ) -> None:
        super().__init__(model, **options)
        self.alpha, self.head_factor = alpha, head_factor

    def check(self, task: Task) -> None:
        super().check(task)
        if classifier_of(self.model, task) is None:
            raise UserError(
                "Fisher forgetting adds other noise to the classifier's layer, but the last linear layer or convolution"
                f" of this network has not {task.num_classes} outputs, as that layer would: use method=ssd",
                key="method",
                kind="conflict",
            )

    def observe(self, stream: str, batch: Batch) -> None:
        self.add("fisher", flatten(exact_fisher(self.model, batch.images)))
        self.add("terms", torch.tensor(float(len(batch.ids)), device=self.device))

    def edit(self) -> None:
        weights = trainable(self.model)
        fisher = self.observations["fisher"] / self.observations["terms"]
        layer = classifier_of(self.model, self.task)
        head = set(layer.parameters()) if layer is not None else set()
        forgotten = torch.tensor(self.task.forget_classes, dtype=torch.int64, device=self.device)
        for weight, information in zip(weights, fisher.split([w.numel() for w in weights]), strict=True):
            variance = self.variance(information.view(weight.shape), weight in head)
            if weight in head:
                weight[forgotten], variance[forgotten] = 0.0, 1e-4
            variance *= 10 if weight.ndim == 1 else self.head_factor if weight in head else 1
            weight.add_(variance.sqrt().mul_(torch.randn_like(weight)))

    def variance(self, fisher: Tensor, in_head: bool) -> Tensor:
        """Variance of the noise on one parameter before its factor, in the parameter's shape."""
        variance = self.alpha * (fisher + 1e-8).reciprocal_().clamp_max_(1e2 if in_head else 1e3)
        if variance.ndim > 1:
            variance = variance.mean(1, keepdim=True).expand_as(fisher).clone()
        return variance
