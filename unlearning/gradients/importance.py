"""How much each weight matters to some data, and what that is used for."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import UserError


class Measure(NamedTuple):
    """An importance: the size of the gradient of some value of a sample."""

    value: Callable[[Tensor, Tensor | None], Tensor]  # logits (B, num_classes), labels (B,) if needed -> (B,)
    size: Callable[[Tensor], Tensor]  # of each element


MEASURES = {
    "cross_entropy": Measure(lambda logits, labels: F.cross_entropy(logits, labels, reduction="none"), torch.square),
    "squared_norm": Measure(lambda logits, _: logits.square().sum(1), torch.abs),
    "norm": Measure(lambda logits, _: logits.norm(dim=1), torch.abs),
}


def dampened(weights: Tensor, forget: Tensor, reference: Tensor, alpha: float | Tensor, lam: float) -> Tensor:
    """SSD's dampening: where ``forget > alpha reference``, weights times ``min(lam reference / forget, 1)``.

    All are vectors over the parameters; ``forget`` and ``reference`` are importances (Foster et al., 2024, eq. 6-8).
    """
    shrunk = weights * (lam * reference / forget).clamp(max=1)
    return torch.where(forget > alpha * reference, shrunk, weights)


def sorted_ratios(forget: Tensor, reference: Tensor) -> Tensor:
    """The finite ratios ``forget / reference`` of two importances, ascending: 0 / 0 and x / 0 are left out.

    Raises ``UserError`` where none is left.
    """
    ratios = forget / reference
    if not (finite := ratios[ratios.isfinite()]).numel():
        raise UserError("no weight matters to the retain set: its gradients are all zero or not finite")
    return finite.sort().values


def percentile(ascending: Tensor, percent: float) -> Tensor:
    """The percentile of sorted values, linear between neighbours; of any number, unlike ``torch.quantile``."""
    position = percent / 100 * (len(ascending) - 1)
    below = int(position)
    above = min(below + 1, len(ascending) - 1)
    return ascending[below].lerp(ascending[above], position - below)
