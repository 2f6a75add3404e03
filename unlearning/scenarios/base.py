"""What a scenario is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..data.datasets import Dataset
from ..data.trigger import Attack
from ..errors import UserError
from ..types import Split


def assemble(dataset: Dataset, forget: Tensor, like_forget: Tensor, forget_classes: Sequence[int] = ()) -> Split:
    """The split for a forget set; ``like_forget`` (N,) bool marks the samples of the same kind (for test)."""
    forget = forget.sort().values
    retain = dataset.train[~torch.isin(dataset.train, forget)]
    if len(forget) == 0:
        raise UserError("the forget set is empty: name a class that has training samples, or a larger count")
    if len(retain) == 0:
        raise UserError("the forget set is the whole training set: nothing is left to retain")
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


class Scenario:
    """What happened to the data, if anything, and what of it is to be forgotten."""

    def manipulated(self, dataset: Dataset) -> Dataset:
        """The data that the original model learns: as they are, unless the scenario relabels or spoils them."""
        return dataset

    def split(self, dataset: Dataset) -> Split:
        """The index sets; the same for the data as they were and as they were manipulated."""
        raise NotImplementedError

    def attack(self, dataset: Dataset) -> Attack | None:
        """The trigger that the scenario taught the model, if it did."""
        return None
