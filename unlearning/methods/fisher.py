"""Fisher forgetting (Golatkar et al., CVPR 2020, arXiv:1911.04933)."""

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..gradients.fisher import exact_fisher
from ..gradients.vectors import flatten, trainable
from ..types import Batch
from .base import OneShot


class Fisher(OneShot):
    """Add noise to the weights, the more of it the less a weight matters to the retain set.

    ``w ~ N(mu, v)`` with mu the original weight and ``v = alpha min(1 / (F + 1e-8), 1e3)``, F being the exact diagonal
    Fisher information, the mean over retain samples x of ``sum_y p(y|x) (d log p(y|x) / dw)^2``. In tensors of two
    dimensions and more v is averaged over the second one; in the classifier's layer 1e2 takes the place of 1e3; there
    and in vectors (biases, normalisation) v is multiplied by 10. Where whole classes are to be forgotten, their rows of
    the classifier's layer have ``mu = 0, v = 1e-4``. BatchNorm statistics are untouched.

    Args:
        model: as in ``Method``; so are the options, of which ``batch_size`` decides speed and memory alone.
        alpha: scale of the variance.
    """

    streams = ("retain",)
    sees_labels = False  # the expectation is over the model's own labels

    def __init__(self, model: nn.Module, alpha: float = 1e-6, **options: object) -> None:
        super().__init__(model, **options)
        if alpha < 0:
            raise UserError(f"method.alpha={alpha} is the scale of a variance: it must be at least 0")
        self.alpha = alpha

    def observe(self, stream: str, batch: Batch) -> None:
        self.add("fisher", flatten(exact_fisher(self.model, batch.images)))
        self.add("samples", torch.tensor(float(len(batch.ids)), device=self.device))

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.observations["forget_classes"] = torch.tensor(self.task.forget_classes, dtype=torch.int64)

    def edit(self) -> None:
        weights = trainable(self.model)
        fisher = self.observations["fisher"] / self.observations["samples"]
        head = {p for layer in linear_layers(self.model)[-1:] for p in layer.parameters()}
        for weight, information in zip(weights, fisher.split([w.numel() for w in weights]), strict=True):
            variance = self.variance(information.view(weight.shape), weight in head)
            if weight in head:
                forgotten = self.observations["forget_classes"]
                weight[forgotten], variance[forgotten] = 0.0, 1e-4
            weight.add_(variance.sqrt().mul_(torch.randn_like(weight)))

    def variance(self, fisher: Tensor, in_head: bool) -> Tensor:
        """Of the noise on one parameter, in its shape."""
        variance = self.alpha * (fisher + 1e-8).reciprocal_().clamp_max_(1e2 if in_head else 1e3)
        if variance.ndim > 1:
            variance = variance.mean(1, keepdim=True).expand_as(fisher).clone()
        return 10 * variance if in_head or variance.ndim == 1 else variance


def linear_layers(model: nn.Module) -> list[nn.Linear]:
    """In the order of the network: the last one is the classifier's."""
    return [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
