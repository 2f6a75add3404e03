"""Boundary Expanding (Chen et al., CVPR 2023, arXiv:2303.11570, section 3.3)."""

from typing import Any

import torch
from torch import Tensor, nn

from ..data.feed import Feed
from ..errors import UserError
from ..types import Batch, Task
from .base import Method
from .guard import Guard


class BoundaryExpand(Method):
    """Teach the forget set a class that does not exist, by one more output, and then remove that output.

    The head, the last linear layer, gets one more row, drawn at random as those of a new layer are. Cross-entropy with
    that class as the label moves the forget set there; without the row, its samples fall to the classes that are next.
    The model has its own shape again in the end. No labels are needed, and any samples can be forgotten: a class, a
    part of it, or others.

    Raises ``UserError`` for a network that does not end with a linear layer.
    """

    feed = Feed(streams=("forget",), labels=False)

    def __init__(self, model: nn.Module, **options: Any) -> None:
        super().__init__(model, **options)
        layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
        if not layers:
            raise UserError(
                "boundary_expand adds an output to the last linear layer, and this network has none: use "
                "method=boundary_shrink",
                key="method",
                kind="conflict",
            )
        self.classes = layers[-1].out_features
        self.head = [layers[-1]]  # in a list, so that it is not a second module of the method

    def check(self, task: Task) -> None:
        super().check(task)
        if self.classes != task.num_classes:
            raise UserError(
                f"boundary_expand adds an output to the last linear layer, which has {self.classes} outputs for "
                f"{task.num_classes} classes, so that it is not the network's head: use method=boundary_shrink",
                key="method",
                kind="conflict",
            )

    def setup(self, stage: str) -> None:
        (head,) = self.head
        new = nn.Linear(head.in_features, 1, bias=head.bias is not None).to(head.weight)
        self.put(torch.cat([head.weight, new.weight]), None if head.bias is None else torch.cat([head.bias, new.bias]))
        if self.guard is not None:  # which compares with the original, now of the same shape
            self.guard = Guard(self.model, self.guard.keep)

    def put(self, weight: Tensor, bias: Tensor | None) -> None:
        """Give the head other rows."""
        (head,) = self.head
        head.out_features = len(weight)
        head.weight = nn.Parameter(weight.detach().clone())
        if bias is not None:
            head.bias = nn.Parameter(bias.detach().clone())

    def forget_loss(self, batch: Batch) -> Tensor:
        logits: Tensor = self.model(batch.images)
        return self.cross_entropy(logits, torch.full_like(batch.ids, self.classes))

    def on_train_end(self) -> None:
        super().on_train_end()
        (head,) = self.head
        self.put(head.weight[: self.classes], None if head.bias is None else head.bias[: self.classes])
