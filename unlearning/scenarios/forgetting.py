"""What is to be forgotten: a scenario turns a data set into index sets."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..data.datasets import Dataset, coarsened
from ..errors import UserError
from ..types import Split
from .base import Scenario, assemble


def draw(pool: Tensor, count: int | None, fraction: float | None, seed: int, what: str) -> Tensor:
    """``count`` samples, or a ``fraction``, of ``pool`` at random; all of it where neither is given."""
    count = wanted_count(len(pool), count, fraction, what)
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))
    return pool[order[:count]] if count < len(pool) else pool


def wanted_count(available: int, count: int | None, fraction: float | None, what: str) -> int:
    """How many of the ``available`` samples a count or a fraction asks for; all where neither is given."""
    if count is not None and fraction is not None:
        raise UserError("scenario.count and scenario.fraction are both given: choose one (set the other to null)")
    if fraction is not None:
        if not 0 < fraction <= 1:
            raise UserError(f"scenario.fraction must lie in (0, 1], not {fraction}")
        count = round(fraction * available)
        if count == 0:
            raise UserError(f"scenario.fraction={fraction} of the {available} training samples of {what} is none")
    if count is None:
        return available
    if not 1 <= count <= available:
        raise UserError(f"scenario.count={count} cannot be drawn: {what} has {available} training samples")
    return count


class ClassForgetting(Scenario):
    """Forget whole classes, given by name or number; or, with a count or fraction, a random part of them.

    Test splits by the same classes. With only a part forgotten the rest of the class stays in the retain set.
    """

    def __init__(
        self,
        seed: int,
        classes: Sequence[int | str],
        count: int | None = None,
        fraction: float | None = None,
    ) -> None:
        self.seed, self.classes, self.count, self.fraction = seed, classes, count, fraction

    def split(self, dataset: Dataset) -> Split:
        if len(self.classes) == 0:
            raise UserError("scenario.classes is empty: name at least one class, such as scenario.classes=[0]")
        numbers = sorted({dataset.class_number(c) for c in self.classes})
        of_class = torch.isin(dataset.labels, torch.tensor(numbers))
        pool = dataset.train[of_class[dataset.train]]
        names = ", ".join(dataset.classes[n] for n in numbers)
        forget = draw(pool, self.count, self.fraction, self.seed, f"class {names} of {dataset.name}")
        whole = len(forget) == len(pool)
        return replace(assemble(dataset, forget, of_class, numbers if whole else ()), named_classes=tuple(numbers))


class SubclassForgetting(ClassForgetting):
    """Forget fine classes, given by name or number, or a part of them, of a model that learned the super-classes.

    Test splits by the same fine classes. The super-class stays, so no class is forgotten whole.
    """

    def manipulated(self, dataset: Dataset) -> Dataset:
        return coarsened(dataset)

    def split(self, dataset: Dataset) -> Split:
        coarse = coarsened(dataset)
        fine = replace(coarse, labels=coarse.fine_labels, classes=coarse.fine_classes)
        split = super().split(fine)
        return replace(split, forget_classes=(), named_classes=tuple(coarse.labels[split.forget].unique().tolist()))


class RandomForgetting(Scenario):
    """Forget training samples drawn at random over all classes: a count or a fraction; a tenth if neither is given."""

    def __init__(self, seed: int, count: int | None = None, fraction: float | None = None) -> None:
        self.seed, self.count, self.fraction = seed, count, fraction

    def split(self, dataset: Dataset) -> Split:
        return assemble(dataset, self.drawn(dataset), torch.zeros(len(dataset.labels), dtype=torch.bool))

    def drawn(self, dataset: Dataset) -> Tensor:
        """Ids of the samples to forget, whatever their inputs and labels."""
        fraction = 0.1 if self.count is None and self.fraction is None else self.fraction
        return draw(dataset.train, self.count, fraction, self.seed, dataset.name)
