"""How much each weight matters to some data, and what that is used for."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def flatten(tensors: Iterable[Tensor]) -> Tensor:
    """All elements as one vector, in logical order whatever the memory format."""
    return torch.cat([t.reshape(-1) for t in tensors])


@torch.no_grad()
def assign(parameters: Sequence[Tensor], flat: Tensor) -> None:
    """Write a vector made by ``flatten`` back into the tensors it came from."""
    for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.copy_(part.view(parameter.shape))


def dampened(weights: Tensor, forget: Tensor, reference: Tensor, alpha: float | Tensor, lam: float) -> Tensor:
    """SSD's dampening: where ``forget > alpha reference``, weights times ``min(lam reference / forget, 1)``.

    All are vectors over the parameters; ``forget`` and ``reference`` are importances (Foster et al., 2024, eq. 6-8).
    """
    shrunk = weights * (lam * reference / forget).clamp(max=1)
    return torch.where(forget > alpha * reference, shrunk, weights)
