"""Corrective unlearning: scenarios in which a part of the training data is wrong (Goel et al., 2024, arXiv:2402.14015).

A scenario manipulates the samples S_m of the training set, and the original model learns them. Only a part of S_m is
known at the time of unlearning. That part is the forget set; the rest of S_m stays in the retain set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..data.datasets import Dataset
from ..data.trigger import Attack
from ..errors import UserError
from ..types import Count, Fraction
from .base import Problem, Scenario, assemble
from .forgetting import draw, wanted_count


class Manipulation(Scenario):
    """Draw samples S_m, manipulate them, and let a uniformly random part of them be known.

    The original model depends on S_m only, so a sweep over the known part trains it once. Of two known parts drawn with
    the same seed, the larger contains the smaller.

    Args:
        seed: of the draw of S_m and of the manipulation.
        count, fraction: the number of samples to manipulate, or their fraction of the samples that can be; a tenth if
            neither is given.
        known: the fraction of S_m that is known, gamma.
        known_count: the number of samples of S_m that are known, instead of ``known``.
        known_seed: of the draw of the known part; ``seed`` where it is None.
    """

    usual_fraction = 0.1

    def __init__(
        self,
        seed: int,
        count: Count | None = None,
        fraction: Fraction | None = None,
        known: Fraction = 1.0,
        known_count: Count | None = None,
        known_seed: int | None = None,
    ) -> None:
        if known_count is not None and known != 1:
            raise UserError(
                f"scenario.known={known} and scenario.known_count={known_count} are both given: choose one "
                "(known=1 or known_count=null)",
                key="scenario.known",
                kind="conflict",
            )
        self.seed, self.count = seed, count
        self.fraction = self.usual_fraction if count is None and fraction is None else fraction
        self.known, self.known_count = known, known_count
        self.known_seed = seed if known_seed is None else known_seed

    # What a subclass defines

    def spoiled(self, dataset: Dataset, ids: Tensor) -> Dataset:
        """The data set with the samples ``ids`` manipulated."""
        raise NotImplementedError

    def drawn(self, dataset: Dataset) -> Tensor:
        """The ids of S_m."""
        return draw(self.pool(dataset), self.count, self.fraction, self.seed)

    def pool(self, dataset: Dataset) -> Tensor:
        """The ids of the samples that S_m is drawn from."""
        return dataset.train

    def like_manipulated(self, dataset: Dataset) -> Tensor:
        """(N,) bool: the samples of the classes that are manipulated, if these are not all classes; none otherwise."""
        return torch.zeros(len(dataset.labels), dtype=torch.bool)

    def attack(self, dataset: Dataset) -> Attack | None:
        """The trigger that the manipulated data teach a model, if there is one."""
        return None

    # What follows from that

    def prepare(self, raw: Dataset) -> Problem:
        manipulated = self.drawn(raw).sort().values
        split = assemble(raw, self.known_of(manipulated), self.like_manipulated(raw))
        return Problem.of(self.spoiled(raw, manipulated), replace(split, manipulated=manipulated), self.attack(raw))

    def known_of(self, manipulated: Tensor) -> Tensor:
        """The known part of the ids ``manipulated``."""
        count = round(self.known * len(manipulated)) if self.known_count is None else self.known_count
        if not 1 <= count <= len(manipulated):
            option = "known" if self.known_count is None else "known_count"
            raise UserError(
                f"scenario.{option}={getattr(self, option)} makes {count} of the {len(manipulated)} manipulated "
                "samples known: it must be from 1 to all of them",
                key=f"scenario.{option}",
            )
        order = torch.randperm(len(manipulated), generator=random_numbers(self.known_seed, "known"))
        return manipulated[order[:count]]


class DataEntry(Manipulation):
    """Wrong labels: replace the label of each sample of S_m by one of the other classes, at random.

    These are the label errors of tabular data in Schoepf et al. (2024, arXiv:2402.10098). Validation and test labels
    are correct.
    """

    def spoiled(self, dataset: Dataset, ids: Tensor) -> Dataset:
        classes = len(dataset.classes)
        shift = torch.randint(1, classes, (len(ids),), generator=random_numbers(self.seed, "labels"))
        return relabelled(dataset, ids, (dataset.labels[ids] + shift) % classes)


class LabelShuffle(Manipulation):
    """Shuffled labels: permute the labels of S_m among its samples, so that every class keeps its number of samples.

    The new label of a sample can be correct by chance; ``corrective/wrong_seen`` leaves such samples out.
    """

    def spoiled(self, dataset: Dataset, ids: Tensor) -> Dataset:
        if len(ids) == 1:
            raise UserError(
                "the labels of one sample cannot be shuffled: scenario.count must be at least 2", key="scenario.count"
            )
        order = torch.randperm(len(ids), generator=random_numbers(self.seed, "labels"))
        return relabelled(dataset, ids, dataset.labels[ids[order]])


class Confusion(Manipulation):
    """Interclass confusion: of each of two classes, give m/2 samples the label of the other class.

    See Goel et al. (2022, arXiv:2201.06640). The test samples are split by the two classes.

    Args:
        seed: as in ``Manipulation``.
        classes: the two classes, by name or number.
        options: those of ``Manipulation``. ``count`` is m and must be even; ``fraction`` is of the samples of the two
            classes, and a half if neither is given.
    """

    usual_fraction = 0.5  # a tenth of two classes would be too few

    def __init__(self, seed: int, classes: Sequence[int | str], **options: Any) -> None:
        super().__init__(seed, **options)
        if len(classes) != 2:
            raise UserError(
                f"scenario.classes={list(classes)} must name the two classes that are confused",
                key="scenario.classes",
            )
        if self.count is not None and self.count % 2:
            raise UserError(
                f"scenario.count={self.count} must be even, such as {self.count + 1}, because half of the confused "
                "samples are of each class",
                key="scenario.count",
            )
        self.classes = classes

    def pair(self, dataset: Dataset) -> tuple[int, int]:
        """The numbers of the two classes."""
        first, second = map(dataset.class_number, self.classes)
        if first == second:
            raise UserError(
                f"scenario.classes={list(self.classes)} names one class twice: name two classes",
                key="scenario.classes",
            )
        return first, second

    def drawn(self, dataset: Dataset) -> Tensor:
        labels = dataset.labels[dataset.train]
        pools = [dataset.train[labels == number] for number in self.pair(dataset)]
        count = wanted_count(sum(map(len, pools)), self.count, self.fraction)
        for pool, name in zip(pools, self.classes, strict=True):
            if not 1 <= count // 2 <= len(pool):
                raise UserError(
                    f"a confusion of {count} samples takes {count // 2} of class {name}, which has {len(pool)} in "
                    f"training: scenario.count must be from 2 to {2 * min(map(len, pools))}",
                    key="scenario.count",
                )
        return torch.cat([draw(pool, count // 2, None, self.seed) for pool in pools])

    def like_manipulated(self, dataset: Dataset) -> Tensor:
        return torch.isin(dataset.labels, torch.tensor(self.pair(dataset)))

    def spoiled(self, dataset: Dataset, ids: Tensor) -> Dataset:
        return relabelled(dataset, ids, sum(self.pair(dataset)) - dataset.labels[ids])


def relabelled(dataset: Dataset, ids: Tensor, labels: Tensor) -> Dataset:
    """The data set with other labels for the samples ``ids``, and the correct labels as ``clean_labels``."""
    changed = dataset.labels.clone()
    changed[ids] = labels
    return replace(dataset, labels=changed, clean_labels=dataset.labels)


def random_numbers(seed: int, purpose: str) -> torch.Generator:
    """A generator for one purpose of a seed, so that the draws of a scenario are independent of each other."""
    digest = hashlib.sha256(f"{purpose} {seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") % 2**63)
