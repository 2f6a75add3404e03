"""Random labels with weights soft-thresholded towards the original ones, a variant of the SalUn authors' code.

SalUn: Fan et al., ICLR 2024, arXiv:2310.12508. The steps here follow the idea, not that code.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..gradients.vectors import parts, trainable, weights_of
from ..types import NonNegative
from .random_label import RandomLabel


class RLProximal(RandomLabel):
    """Random labels, with a penalty on every weight that leaves its original value, so that few weights do.

    The loss of ``random_label`` plus ``sparsity |theta - theta_0|_1``, by proximal gradient descent: after each step of
    the optimiser ``theta <- theta_0 + S(theta - theta_0)``, ``S(d) = sign(d) max(|d| - lr sparsity, 0)``, with the
    learning rate of the step. Most weights remain exactly theta_0, and no mask has to be chosen.

    Args:
        model: as in ``Method``, like the other options.
        sparsity: weight of the penalty. Adam moves a weight by at most about lr in a step, so from 1 on hardly any
            weight moves.
    """

    start: Tensor  # theta_0, a vector over the trainable parameters; from ``on_train_start`` on

    def __init__(self, model: nn.Module, sparsity: NonNegative = 0.1, **options: Any) -> None:
        super().__init__(model, **options)
        self.sparsity = sparsity

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["start"] = self.start

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.start = checkpoint["start"]

    def on_train_start(self) -> None:
        self.start = self.start.to(self.device) if self.resumed else weights_of(self.model)

    def after_step(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        self.shrink(optimizer)
        super().after_step(optimizer)  # last, so that weights that add-ons hold are restored

    @torch.no_grad()
    def shrink(self, optimizer: torch.optim.Optimizer) -> None:
        """Soft-threshold the distance of each weight from its original value."""
        weights = trainable(self.model)
        starts: dict[Tensor, Tensor] = dict(zip(weights, parts(self.start, weights), strict=True))
        for group in optimizer.param_groups:
            for weight in group["params"]:
                distance = F.softshrink(weight - starts[weight], float(group["lr"]) * self.sparsity)
                torch.add(starts[weight], distance, out=weight)
