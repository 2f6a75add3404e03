"""Training sets in which some classes are rare."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..errors import UserError
from .datasets import Dataset


def long_tailed(data: Dataset, factor: float | None, seed: int) -> Dataset:
    """The data set with fewer training samples of every class but the first; itself where ``factor`` is None.

    Of class k of C classes, the fraction ``factor ** (-k / (C - 1))`` of its training samples stays, at least one
    (Cui et al., 2019, arXiv:1901.05555): all of the first class, and of the last one in ``factor``. Which ones is drawn
    at random. The others are in no index set, and validation and test samples stay as they are.

    Args:
        data: with training samples of all classes.
        factor: the imbalance factor, above 1.
        seed: of the draw.

    Raises ``UserError`` for a factor that is not above 1.
    """
    if factor is None:
        return data
    if not factor > 1:
        raise UserError(
            f"split.imbalance={factor} must be above 1, such as 100 for a last class with a hundredth of its samples, "
            "or null",
            key="split.imbalance",
        )
    generator = torch.Generator().manual_seed(seed)
    counts = counts_of(data.labels[data.train].bincount(minlength=len(data.classes)), factor)
    kept = []
    for number, count in enumerate(counts.tolist()):
        pool = data.train[data.labels[data.train] == number]
        kept.append(pool[torch.randperm(len(pool), generator=generator)[:count]])
    return replace(data, train=torch.cat(kept).sort().values)


def counts_of(available: Tensor, factor: float) -> Tensor:
    """(C,) the samples that stay of each class, given how many there are: none of a class that has none."""
    place = torch.arange(len(available)) / max(len(available) - 1, 1)
    wanted = (available * factor ** -place.double()).round().long()
    return wanted.clamp(min=1).minimum(available)
