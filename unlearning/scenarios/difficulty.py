"""Forgetting the samples that are hardest or easiest to forget, by the scores of a saved file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from ..data.datasets import Dataset
from ..errors import UserError, listed
from ..types import Count, Fraction
from .base import Problem, Scenario, assemble
from .forgetting import wanted_count

End = Literal["highest", "middle", "lowest"]
SETS = ("train", "validation", "test", "learned")


@dataclass(frozen=True)
class ScoreFile:
    """Scores of training samples, and the data that they are of.

    Args:
        scores: by name, (N,) float64 by sample id; NaN where a sample has none.
        sets: the ids of the ``train``, ``validation`` and ``test`` samples, and those that one model ``learned``.
        data: the digest of the data whose training samples are ``learned``.
    """

    scores: Mapping[str, Tensor]
    sets: Mapping[str, Tensor]
    data: str

    def content(self) -> bytes:
        """The content of a safetensors file that ``read`` takes."""
        clash = {name for name in self.scores if name in SETS}
        assert not clash, clash
        tensors = {**self.scores, **self.sets}
        return save({name: tensor.clone() for name, tensor in tensors.items()}, metadata={"data": self.data})

    @classmethod
    def read(cls, path: Path) -> ScoreFile:
        """The scores in a file. Raises ``ValueError`` with the reason where it holds none."""
        try:
            with safe_open(path, "pt") as file:
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                data = (file.metadata() or {})["data"]
            sets = {name: found.pop(name) for name in SETS}
        except Exception as error:  # the reader raises anything on a file that is not one
            raise ValueError(" ".join(str(error).split())) from None
        return cls(found, sets, data)


class DifficultyForgetting(Scenario):
    """Forget the training samples with the highest, the middle or the lowest scores of a saved file.

    ``python -m unlearning.difficulty`` writes the file from finished runs: how much a sample is memorised, its loss,
    its EL2N, and its distance from the others in the original's features. The scores do not depend on the method, so
    all methods of a sweep forget the same samples. The training, validation and test samples come from the file, too,
    so that every model has learned what the scores are of; the seeds have no effect. Samples without a score stay in
    the retain set. Of equal scores, that of the lower id counts as the lower.

    Members of a hard set are harder than test samples even for a model that never saw them, so an attack's AUC of .5
    is not the aim here: the retrained model's is.

    Args:
        seed: not used, because nothing is drawn; every scenario has one.
        file: the file with the scores.
        by: the name of the score, such as ``memorisation``.
        end: ``highest``, ``lowest``, or the ``middle`` of the order.
        count, fraction: the number of samples to forget, or their fraction of those that have a score; a tenth if
            neither is given.

    Raises ``UserError`` for a file without such scores, and for scores of other data.
    """

    def __init__(
        self,
        seed: int,
        file: str,
        by: str = "memorisation",
        end: End = "highest",
        count: Count | None = None,
        fraction: Fraction | None = None,
    ) -> None:
        self.seed, self.file, self.by, self.end = seed, file, by, end
        self.count = count
        self.fraction = 0.1 if count is None and fraction is None else fraction

    def prepare(self, raw: Dataset) -> Problem:
        scores, data = self.scores(raw)
        known = data.train[~scores[data.train].isnan()]
        order = known[scores[known].argsort(stable=True)]
        count = wanted_count(len(order), self.count, self.fraction)
        begin = {"lowest": 0, "middle": (len(order) - count) // 2, "highest": len(order) - count}[self.end]
        split = assemble(data, order[begin : begin + count], torch.zeros(len(data.labels), dtype=torch.bool))
        counts = {"training": count, "surplus": 0, "held_out": 0, "unknown": len(data.train) - len(known)}
        return replace(Problem.of(data, split), selected=counts)

    def scores(self, raw: Dataset) -> tuple[Tensor, Dataset]:
        """The scores (N,), and the data with the index sets of the file."""
        try:
            found = ScoreFile.read(Path(self.file).expanduser())
        except ValueError as why:
            raise UserError(
                f"scenario.file={self.file} is not a file of scores ({why}): write one by python -m "
                "unlearning.difficulty",
                key="scenario.file",
                kind="file",
            ) from None
        train, validation, test, learned = (found.sets[name] for name in SETS)
        data = replace(raw, train=train, validation=validation, test=test)
        if replace(data, train=learned).digest != found.data:
            raise UserError(
                f"scenario.file={self.file} has scores of other data than {raw.name} as it is configured here: use "
                "dataset= and its options from the runs that they come from",
                key="scenario.file",
                kind="conflict",
            )
        if self.by not in found.scores:
            raise UserError(
                f"scenario.by: {self.file} has no scores {self.by!r}: {listed(sorted(found.scores))}",
                key="scenario.by",
                kind="choice",
            )
        return found.scores[self.by], data
