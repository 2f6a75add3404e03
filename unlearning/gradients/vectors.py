"""Vectors over the trainable parameters of a network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn


def flatten(tensors: Iterable[Tensor]) -> Tensor:
    """All elements as one vector, in logical order whatever the memory format."""
    return torch.cat([t.reshape(-1) for t in tensors])


def parts(flat: Tensor, like: Sequence[Tensor]) -> Iterator[Tensor]:
    """Views of a vector made by ``flatten``, in the shapes of the tensors it came from."""
    return (part.view(t.shape) for part, t in zip(flat.split([t.numel() for t in like]), like, strict=True))


@torch.no_grad()
def assign(parameters: Sequence[Tensor], flat: Tensor) -> None:
    """Write a vector made by ``flatten`` back into the tensors it came from."""
    for parameter, part in zip(parameters, parts(flat, parameters), strict=True):
        parameter.copy_(part)


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that a method steps on, in the order of every vector over them."""
    return [p for p in model.parameters() if p.requires_grad]


def weights_of(model: nn.Module) -> Tensor:
    """The trainable parameters as a vector: a copy."""
    return flatten(p.detach() for p in trainable(model))


def smallest(values: Tensor, count: int | Tensor) -> Tensor:
    """Which are the ``count`` smallest of a vector, of equal ones the first; (n,) bool. Nothing waits for a tensor."""
    order = values.argsort(stable=True)
    chosen = torch.arange(len(order), device=order.device) < count
    return torch.empty_like(order, dtype=torch.bool).scatter_(0, order, chosen)
