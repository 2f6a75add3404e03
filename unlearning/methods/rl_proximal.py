"""Random labels with weights soft-thresholded towards the original ones, a variant of the SalUn authors' code.

SalUn: Fan et al., ICLR 2024, arXiv:2310.12508. The steps here are written from the idea, not from that code.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError
from ..gradients.vectors import parts, trainable, weights_of
from .random_label import RandomLabel


class RLProximal(RandomLabel):
    """Random labels, with a penalty on every weight that leaves its original value: few do.

    The loss of ``random_label`` plus ``sparsity |theta - theta_0|_1``, by proximal gradient descent: after each step of
    the optimiser ``theta <- theta_0 + S(theta - theta_0)``, ``S(d) = sign(d) max(|d| - lr sparsity, 0)``, with the
    learning rate of the step. So most weights are theta_0 exactly, and no mask need be chosen.

    Args:
        model: as in ``Method``; so are the options.
        sparsity: weight of the penalty. Adam moves a weight by at most about lr in a step: from 1 on, hardly any moves.
    """

    def __init__(self, model: nn.Module, sparsity: float = 0.1, **options: object) -> None:
        super().__init__(model, **options)
        if sparsity < 0:
            raise UserError(f"method.sparsity={sparsity} must be 0 or more")
        self.sparsity = sparsity
        self.start: Tensor | None = None  # theta_0, a vector over the trainable parameters

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["start"] = self.start

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.start = checkpoint["start"]

    def on_train_start(self) -> None:
        self.start = self.start.to(self.device) if self.resumed else weights_of(self.model)

    def after_step(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        self.shrink(optimizer)
        super().after_step(optimizer)  # what add-ons hold is put back last

    @torch.no_grad()
    def shrink(self, optimizer: torch.optim.Optimizer) -> None:
        """Soft-threshold the distance of each weight from its original value."""
        weights = trainable(self.model)
        starts = dict(zip(weights, parts(self.start, weights), strict=True))
        for group in optimizer.param_groups:
            for weight in group["params"]:
                distance = F.softshrink(weight - starts[weight], float(group["lr"]) * self.sparsity)
                torch.add(starts[weight], distance, out=weight)
