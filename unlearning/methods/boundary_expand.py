"""Boundary Expanding (Chen et al., CVPR 2023, arXiv:2303.11570, section 3.3)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..data.feed import Feed
from ..errors import UserError
from ..types import Batch, Gradients, Task
from .base import Method
from .classifier import classifier_of


class BoundaryExpand(Method):
    """Teach the forget set a class that does not exist, by one more output, and then remove that output.

    The head, the last linear layer that the network calls, gets one more row, drawn at random as those of a new layer
    are. Cross-entropy with that class as the label moves the forget set there; without the row, its samples fall to the
    classes that are next. The row belongs to the method and not to the model, which has its own shape throughout.
    No labels are needed, and any samples can be forgotten: a class, a part of it, or others. Add-ons see the weights of
    the model; the row learns by its own gradient.

    Raises ``UserError`` for a network that does not end with a linear layer.
    """

    feed = Feed(streams=("forget",), labels=False)

    def check(self, task: Task) -> None:
        super().check(task)
        self.head(task)

    def head(self, task: Task) -> nn.Linear:
        """The model's head."""
        found = classifier_of(self.model, task)
        if not isinstance(found, nn.Linear):
            raise UserError(
                "boundary_expand adds an output to the last linear layer, and this network does not end with one that "
                "has an output for each class: use method=boundary_shrink",
                key="method",
                kind="conflict",
            )
        return found

    def setup(self, stage: str) -> None:
        head = self.head(self.task)
        self.classes = head.out_features
        self.extra = nn.Linear(head.in_features, 1, bias=head.bias is not None).to(head.weight)
        self.heads = [head]  # in a list, so that it is not a second module of the method

    @property
    def optimised(self) -> list[nn.Parameter]:
        return [*super().optimised, *self.extra.parameters()]

    @contextmanager
    def expanded(self) -> Iterator[None]:
        """Meanwhile, the head has the additional output, the last one."""

        def hook(_: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> Tensor:
            return torch.cat([outputs, self.extra(inputs[0])], -1)

        handle = self.heads[0].register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()

    def forget_loss(self, batch: Batch) -> Tensor:
        with self.expanded():
            logits: Tensor = self.model(batch.images)
        return self.cross_entropy(logits, torch.full_like(batch.ids, self.classes))

    def split_gradients(self, losses: dict[str, Tensor]) -> Gradients:
        rows = list(self.extra.parameters())  # those of the model alone pass through the add-ons
        for row, slope in zip(rows, torch.autograd.grad(losses["forget"], rows, retain_graph=True), strict=True):
            row.grad = self.weights["forget"] * (self.averaged(slope) if self.trainer.world_size > 1 else slope)
        return super().split_gradients(losses)
