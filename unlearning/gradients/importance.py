"""Importances: how much each weight matters to some data, and the dampening of weights that is based on them."""

from __future__ import annotations

from collections.abc import Callable
from operator import methodcaller
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import UserError
from .sample_gradients import SampleGradients


class Measure(NamedTuple):
    """An importance: the size of the gradient of some function of a sample's logits."""

    value: Callable[[Tensor, Tensor | None], Tensor]  # logits (B, num_classes), labels (B,) if it needs them -> (B,)
    size: Callable[[Tensor], Tensor]  # of each element of a gradient
    summed: Callable[[SampleGradients], Tensor]  # these sizes of the gradients of samples, summed over them


def cross_entropy(logits: Tensor, labels: Tensor | None) -> Tensor:
    """Cross-entropy of each sample, (B,)."""
    assert labels is not None
    return F.cross_entropy(logits, labels, reduction="none")


SQUARED = torch.square, methodcaller("sum_of_squares")
ABSOLUTE = torch.abs, methodcaller("sum_of_sizes")
MEASURES = {
    "cross_entropy": Measure(cross_entropy, *SQUARED),
    "squared_norm": Measure(lambda logits, _: logits.square().sum(1), *ABSOLUTE),
    "norm": Measure(lambda logits, _: logits.norm(dim=1), *ABSOLUTE),
}


def dampened(weights: Tensor, forget: Tensor, reference: Tensor, alpha: float | Tensor, lam: float) -> Tensor:
    """SSD's dampening: where ``forget > alpha reference``, multiply the weight by ``min(lam reference / forget, 1)``.

    All are vectors over the parameters; ``forget`` and ``reference`` are importances (Foster et al., 2024, eq. 6-8).
    """
    shrunk = weights * (lam * reference / forget).clamp(max=1)
    return torch.where(forget > alpha * reference, shrunk, weights)


def sorted_ratios(forget: Tensor, reference: Tensor) -> Tensor:
    """The finite ratios ``forget / reference`` of two importances, ascending: 0 / 0 and x / 0 are left out.

    Raises ``UserError`` if no ratio is finite.
    """
    ratios = forget / reference
    if not (finite := ratios[ratios.isfinite()]).numel():
        raise UserError(
            "no weight matters to the retain set: all gradients of the original model are zero or not finite",
            kind="diverged",
        )
    return finite.sort().values


def percentile(ascending: Tensor, percent: float) -> Tensor:
    """The percentile of sorted values, interpolated linearly; of any number of them, unlike ``torch.quantile``."""
    position = percent / 100 * (len(ascending) - 1)
    below = int(position)
    above = min(below + 1, len(ascending) - 1)
    return ascending[below].lerp(ascending[above], position - below)
