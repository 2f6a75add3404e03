"""Problems: a data set, what of it is to be forgotten, and the scenarios that make problems of data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..data.datasets import Dataset
from ..data.trigger import Attack
from ..errors import UserError
from ..types import Split, Task


@dataclass(frozen=True)
class Problem:
    """The data that the original model learns, the samples to be forgotten, and what methods may know of both."""

    data: Dataset
    split: Split
    attack: Attack | None  # the trigger that the data are poisoned with, if they are
    task: Task
    selected: Mapping[str, int] = field(default_factory=dict)  # of a request by facts: what was selected, and what not

    @classmethod
    def of(cls, data: Dataset, split: Split, attack: Attack | None = None) -> Problem:
        """The problem of a data set and its split, from which the task follows."""
        task = Task(
            num_classes=len(data.classes),
            forget_classes=split.forget_classes,
            named_classes=split.named_classes,
            sizes={name: len(split.sets[name]) for name in ("forget", "retain", "train")},
            input_shape=data.input_shape,
            augmented=data.augmented,
        )
        return cls(data, split, attack, task)

    def learning(self, ids: Tensor) -> Problem:
        """The problem for training on the samples ``ids``: they are the retain set, and the forget set is empty."""
        split = replace(self.split, train=ids, retain=ids, forget=ids[:0])
        return Problem.of(self.data, split, self.attack)

    def thinned(self, limit: int) -> Problem:
        """The problem with at most ``limit`` samples of each index set, evenly spaced: for trials."""
        split = self.split
        forget, retain, validation, test = (
            every(limit, ids) for ids in (split.forget, split.retain, split.validation, split.test)
        )
        train = torch.cat([forget, retain]).sort().values
        thinner = replace(
            split,
            train=train,
            forget=forget,
            retain=retain,
            validation=validation,
            test=test,
            test_forget=split.test_forget[torch.isin(split.test_forget, test)],
            test_retain=split.test_retain[torch.isin(split.test_retain, test)],
            manipulated=split.manipulated[torch.isin(split.manipulated, train)],
        )
        return replace(Problem.of(self.data, thinner, self.attack), selected=self.selected)


class Scenario:
    """A request: which samples are to be forgotten, after the data are manipulated where the scenario says so."""

    learned: float | None = None  # the fraction of the training samples that models learn; all of them where it is None

    def prepare(self, raw: Dataset) -> Problem:
        """The problem that this scenario makes of a data set.

        Raises ``UserError`` where the data set does not have what the scenario names.
        """
        raise NotImplementedError


def check_whole(scenario: Scenario, raw: Dataset, forget: Tensor) -> int:
    """The number of samples that a scenario asks to forget in the data of a model that may have learned all of them.

    Raises ``UserError`` where the forget set is smaller, because some of them are held out, and where the scenario says
    that a part of the training samples was not learned.
    """
    if scenario.learned is not None:
        raise UserError(
            f"scenario.learned={scenario.learned:g} has models learn a part of the training samples, but that of "
            "pretrain.checkpoint may have learned all of them: set one of the two to null",
            key="scenario.learned",
            kind="conflict",
        )
    requested = len(scenario.prepare(raw.undivided).split.forget)
    if len(forget) < requested:
        part = "validation" if raw.drawn_validation and len(raw.validation) else "test"
        raise UserError(
            f"{requested - len(forget)} of the {requested} samples that are to be forgotten would not be, because "
            f"split.{part} holds out samples that the model of pretrain.checkpoint may have learned: leave "
            "split.validation and split.test at 0, or name the split that it was trained on by scenario=saved",
            key=f"split.{part}",
            kind="conflict",
        )
    return requested


def assemble(dataset: Dataset, forget: Tensor, like_forget: Tensor, forget_classes: Sequence[int] = ()) -> Split:
    """The split for a forget set.

    Args:
        forget: ids.
        like_forget: (N,) bool, the samples of the same kind as the forget set, by which test samples are split.
        forget_classes: the classes that are forgotten whole.

    Raises ``UserError`` where nothing would be forgotten, or nothing retained.
    """
    forget = forget.sort().values
    retain = dataset.train[~torch.isin(dataset.train, forget)]
    if len(forget) == 0:
        raise UserError(
            "the forget set is empty: name a class that has training samples, or a larger count", key="scenario"
        )
    if len(retain) == 0:
        raise UserError("the forget set is the whole training set: nothing is left to retain", key="scenario")
    test = dataset.test
    return Split(
        train=dataset.train,
        forget=forget,
        retain=retain,
        validation=dataset.validation,
        test=test,
        test_forget=test[like_forget[test]],
        test_retain=test[~like_forget[test]],
        forget_classes=tuple(forget_classes),
    )


def every(limit: int, ids: Tensor) -> Tensor:
    """At most ``limit`` of the ids, evenly spaced."""
    return ids if len(ids) <= limit else ids[torch.linspace(0, len(ids) - 1, limit).long()]
