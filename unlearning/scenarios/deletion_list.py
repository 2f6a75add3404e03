"""Forgetting the samples that a file lists: a request for deletion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ..data.datasets import Dataset
from ..errors import UserError
from .base import Problem
from .copies import copies
from .entries import KEY, read_entries
from .matching import FILE, empty, matcher
from .selection import Selected, Selection


class ListForgetting(Selection):
    """Forget every sample that a file lists.

    What the validation and test sets would have drawn of them is moved to the training set; a run that would leave any
    of them, because it is in a test or validation part of its own, refuses. Besides what ``Selection`` counts, the
    problem accounts in ``selected`` for

    * ``entries`` of the list, and ``unknown_entries`` of them, which name no sample;
    * ``duplicates``: entries of which all samples were named before;
    * ``moved``: samples that validation or test would have drawn;
    * ``copies``: samples that are not listed, and are equal to one that is.

    Args:
        seed: not used, because nothing is drawn; every scenario has one.
        file: as in ``entries.read_entries``; or several of them, which are one joint request.
        column: of a CSV file, or the key in a list of JSON objects.
        by: what the entries are: ``file``, paths of images (see ``matching.by_file``); ``id``, the rows of samples from
            0; or a column of the metadata, in which an entry names every sample that has it, such as all of a patient.
            Where it is None, they are files in an image folder, where whole numbers of JSON or NumPy are ids, and ids
            elsewhere.
        unknown: whether entries that name no sample are refused or ignored.

    Raises ``UserError`` where entries name no sample, or could mean several images, and where a listed sample would not
    be forgotten; all of them are named.
    """

    def __init__(
        self,
        seed: int,
        file: str | Sequence[str],
        column: str | None = None,
        by: str | None = None,
        unknown: Literal["refuse", "ignore"] = "refuse",
    ) -> None:
        super().__init__(seed)
        self.file, self.column, self.by, self.unknown = file, column, by, unknown

    def select(self, raw: Dataset) -> Selected:
        return self.found(raw)[0]

    def prepare(self, raw: Dataset) -> Problem:
        selected, counts = self.found(raw)
        data = self.learning(raw, selected.samples)
        problem = self.problem(data, selected)
        moved = len(data.train) - len(raw.train)
        counts |= {"moved": moved, "copies": copies(raw.inputs, selected.samples)}
        return replace(problem, selected=dict(problem.selected) | counts)

    def found(self, raw: Dataset) -> tuple[Selected, dict[str, int]]:
        """The samples of the list, and the counts of its entries."""
        files = [self.file] if isinstance(self.file, str) else self.file
        entries = [entry for file in files for entry in read_entries(Path(file).expanduser(), self.column)]
        find = matcher(raw, self.by)
        samples, unknown, duplicates = torch.zeros(len(raw.labels), dtype=torch.bool), [], 0
        for number, entry in enumerate(entries, 1):
            rows = torch.tensor(find(entry), dtype=torch.int64)
            if not len(rows):
                unknown.append(f'"" (entry {number})' if entry == "" else entry)
            duplicates += bool(len(rows) and samples[rows].all())
            samples[rows] = True
        if unknown and (self.unknown == "refuse" or len(unknown) == len(entries)):
            raise UserError(
                f"{KEY}={self.file}: {len(unknown)} of {len(entries)} entries name no sample of {raw.name}, whose "
                f"samples are such as {names(raw, [0])}: {', '.join(map(str, unknown))}: correct them"
                + (", or set scenario.unknown=ignore" if self.unknown == "refuse" else ""),
                key=KEY,
                kind="choice",
            )
        counts = {"entries": len(entries), "duplicates": duplicates, "unknown_entries": len(unknown)}
        return Selected(samples, ~samples & empty(raw, self.by)), counts

    def learning(self, raw: Dataset, samples: Tensor) -> Dataset:
        """The data set with those of the samples in training that validation and test have drawn.

        Raises ``UserError`` where others are in neither.
        """
        parts = {"validation": raw.drawn_validation, "test": raw.drawn_test}
        ids = {name: getattr(raw, name) for name in parts}
        moved = torch.cat([ids[name][samples[ids[name]]] for name, drawn in parts.items() if drawn] or [raw.train[:0]])
        train = torch.cat([raw.train, moved]).sort().values
        missed = samples.nonzero().flatten()
        missed = missed[~torch.isin(missed, train)]
        if len(missed):
            raise UserError(
                f"{KEY}={self.file}: {len(missed)} of {int(samples.sum())} listed samples would not be forgotten, as "
                "they are in a validation or test part of the data, which no model here learns: "
                f"{names(raw, missed.tolist())}: take them off the list, or make them training samples",
                key=KEY,
                kind="conflict",
            )
        kept = {name: ids[name][~samples[ids[name]]] for name, drawn in parts.items() if drawn}
        return replace(raw, train=train, **kept)


def names(data: Dataset, ids: Sequence[int]) -> str:
    """The files of samples where they are files, and their ids elsewhere."""
    facts = data.metadata
    known = facts is not None and facts.folder is not None
    return ", ".join(str(facts.columns[FILE][i]) if facts and known else str(i) for i in ids)
