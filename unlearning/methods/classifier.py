"""The layer of a network that gives the logits."""

from __future__ import annotations

import torch
from torch import nn

from ..models.head import head_of
from ..types import Task
from .guard import evaluating


def classifier_of(model: nn.Module, task: Task) -> nn.Module | None:
    """The last linear layer or convolution that a network calls, if it has an output for each class, else None."""
    sample = torch.zeros(2, *task.input_shape).to(next(model.parameters()))
    with evaluating(model):
        head = head_of(model, sample)
    return head if head is not None and len(head.weight) == task.num_classes else None  # type: ignore[arg-type]
