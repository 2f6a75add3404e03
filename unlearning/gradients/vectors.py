"""Vectors over the trainable parameters of a network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

Vectors = Mapping[Tensor, Tensor]  # K vectors by parameter: (K, *shape) for a parameter of that shape


def flatten(tensors: Iterable[Tensor]) -> Tensor:
    """Concatenate all elements into one vector, in logical order whatever the memory format."""
    return torch.cat([t.reshape(-1) for t in tensors])


def parts(flat: Tensor, like: Sequence[Tensor]) -> Iterator[Tensor]:
    """Views of a vector made by :func:`flatten`, in the shapes of the tensors ``like``."""
    return (part.view(t.shape) for part, t in zip(flat.split([t.numel() for t in like]), like, strict=True))


@torch.no_grad()
def assign(parameters: Sequence[Tensor], flat: Tensor) -> None:
    """Write a vector made by :func:`flatten` back into the tensors it was made from."""
    for parameter, part in zip(parameters, parts(flat, parameters), strict=True):
        parameter.copy_(part)


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that a method changes by steps; every vector over the parameters has this order."""
    return [p for p in model.parameters() if p.requires_grad]


def weights_of(model: nn.Module) -> Tensor:
    """A copy of the trainable parameters as one vector."""
    return flatten(p.detach() for p in trainable(model))


def smallest(values: Tensor, count: int | Tensor) -> Tensor:
    """Boolean mask (n,) of the ``count`` smallest values; ties go to the lower index.

    Never synchronises with the device.
    """
    order = values.argsort(stable=True)
    chosen = torch.arange(len(order), device=order.device) < count
    return torch.empty_like(order, dtype=torch.bool).scatter_(0, order, chosen)
