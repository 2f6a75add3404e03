"""Forgetting classes, parts of classes, and samples drawn at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..data.datasets import Dataset, coarsened
from ..errors import UserError
from ..types import Count, Fraction, PartialFraction, Split
from .base import Problem, Scenario, assemble


def draw(pool: Tensor, count: int | None, fraction: float | None, seed: int, first: bool = False) -> Tensor:
    """``count`` samples of ``pool``, or a ``fraction`` of it; all of it where neither is given.

    They are drawn at random, or are the ``first`` ones.
    """
    count = wanted_count(len(pool), count, fraction)
    if first or count == len(pool):
        return pool[:count]
    return pool[torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))[:count]]


def wanted_count(available: int, count: int | None, fraction: float | None) -> int:
    """The number of the ``available`` samples that a count or a fraction stands for; all where neither is given.

    Raises ``UserError`` if fewer are available, or if a fraction selects none.
    """
    if count is not None and fraction is not None:
        raise UserError(
            "scenario.count and scenario.fraction are both given: choose one (set the other to null)",
            key="scenario.count",
            kind="conflict",
        )
    if fraction is not None:
        count = round(fraction * available)
        if count == 0:
            raise UserError(
                f"scenario.fraction={fraction} selects none of the {available} training samples to draw from: use a "
                "larger fraction",
                key="scenario.fraction",
            )
    if count is None:
        return available
    if not 1 <= count <= available:
        raise UserError(
            f"scenario.count={count} cannot be drawn: there are {available} such training samples", key="scenario.count"
        )
    return count


class ClassForgetting(Scenario):
    """Forget whole classes or, with a count or fraction, a part of their samples.

    The test samples are split by the same classes. The samples of the classes that are not forgotten stay in the retain
    set.

    Args:
        seed: of the draw of a part.
        classes: the classes, by name or number.
        count, fraction: the number of their training samples to forget, or the fraction; all if neither is given.
        first: take the first ones by their ids instead of a random draw.
    """

    def __init__(
        self,
        seed: int,
        classes: Sequence[int | str],
        count: Count | None = None,
        fraction: Fraction | None = None,
        first: bool = False,
    ) -> None:
        self.seed, self.classes, self.count, self.fraction, self.first = seed, classes, count, fraction, first

    def prepare(self, raw: Dataset) -> Problem:
        return Problem.of(raw, self.split(raw))

    def split(self, dataset: Dataset) -> Split:
        """The index sets."""
        if len(self.classes) == 0:
            raise UserError(
                "scenario.classes is empty: name at least one class, such as scenario.classes=[0]",
                key="scenario.classes",
            )
        numbers = sorted({dataset.class_number(c) for c in self.classes})
        of_class = torch.isin(dataset.labels, torch.tensor(numbers))
        pool = dataset.train[of_class[dataset.train]]
        forget = draw(pool, self.count, self.fraction, self.seed, self.first)
        whole = len(forget) == len(pool)
        return replace(assemble(dataset, forget, of_class, numbers if whole else ()), named_classes=tuple(numbers))


class SubclassForgetting(ClassForgetting):
    """Forget fine classes, or a part of their samples, when the model has learned super-classes.

    The test samples are split by the same fine classes. The super-class stays, so no class is forgotten whole. The
    arguments are those of ``ClassForgetting``, and ``classes`` are fine classes.
    """

    def prepare(self, raw: Dataset) -> Problem:
        coarse = coarsened(raw)
        assert coarse.fine_labels is not None, "coarsened sets them"
        split = self.split(replace(coarse, labels=coarse.fine_labels, classes=coarse.fine_classes))
        named = tuple(coarse.labels[split.forget].unique().tolist())
        return Problem.of(coarse, replace(split, forget_classes=(), named_classes=named))


class RandomForgetting(Scenario):
    """Forget training samples drawn at random over all classes.

    Args:
        seed: of the draw.
        count, fraction: the number of training samples to forget, or the fraction; a tenth if neither is given.
        learned: the fraction of the training samples that the models learn, drawn at random; all if not given. The
            others are in no index set, as the attacks with shadow models want it, and ``fraction`` is of the learned.
    """

    def __init__(
        self,
        seed: int,
        count: Count | None = None,
        fraction: Fraction | None = None,
        learned: PartialFraction | None = None,
    ) -> None:
        self.seed, self.count, self.fraction, self.learned = seed, count, fraction, learned

    def prepare(self, raw: Dataset) -> Problem:
        fraction = 0.1 if self.count is None and self.fraction is None else self.fraction
        if self.learned is None:
            forget = draw(raw.train, self.count, fraction, self.seed)
        else:
            mixed = raw.train[torch.randperm(len(raw.train), generator=torch.Generator().manual_seed(self.seed))]
            learned = draw(mixed, None, self.learned, self.seed, first=True)
            forget = draw(learned, self.count, fraction, self.seed, first=True)
            raw = replace(raw, train=learned.sort().values)
        return Problem.of(raw, assemble(raw, forget, torch.zeros(len(raw.labels), dtype=torch.bool)))
