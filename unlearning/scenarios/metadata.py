"""Forgetting samples by a predicate over their metadata."""

from __future__ import annotations

import numpy as np
import torch

from ..data.datasets import Dataset
from ..errors import UserError
from ..types import Count
from .predicate import KEY, Columns, parsed
from .selection import Selected, Selection

CLASS = "class"  # the column that every data set has


class MetadataForgetting(Selection):
    """Forget the training samples whose metadata fulfil a predicate, or at most ``cap`` of them.

    The columns are those of the CSV file ``dataset.metadata`` of an image folder, all columns of a table, dropped ones
    included, and ``class``, the name of a sample's class, which every data set has; image folders also have ``file``,
    the path below the folder. A sample with an empty cell in a column of the predicate does not fulfil it.

    Args:
        seed, cap, first: as in ``Selection``.
        where: the predicate: a column, one of ``== != < <= > >=`` and a value, or several of them joined by ``and``.

    Raises ``UserError`` for a predicate that is malformed, that names what the data do not have, or that no training
    sample fulfils.
    """

    def __init__(self, seed: int, where: str, cap: Count | None = None, first: bool = False) -> None:
        super().__init__(seed, cap, first)
        self.comparisons = parsed(where)
        self.where = where

    def select(self, raw: Dataset) -> Selected:
        columns = columns_of(raw)
        found = [comparison.on(columns) for comparison in self.comparisons]
        samples, unknown = np.all([holds for holds, _ in found], 0), np.any([empty for _, empty in found], 0)
        if not samples[raw.train.numpy()].any():
            named = {comparison.column: columns[comparison.column] for comparison in self.comparisons}
            ranges = {column: (np.nanmin(v), np.nanmax(v)) for column, v in named.items() if has_numbers(v)}
            raise UserError(
                f"{KEY}={self.where} selects none of the {len(raw.train)} training samples"
                + "".join(f"; {column} goes from {low:g} to {high:g}" for column, (low, high) in ranges.items()),
                key=KEY,
            )
        return Selected(torch.from_numpy(samples), torch.from_numpy(unknown))


def columns_of(data: Dataset) -> Columns:
    """The columns of a data set's metadata, with the classes."""
    names = np.array(data.classes, dtype=object)[data.labels.numpy()]
    return {CLASS: names} | {**(data.metadata.columns if data.metadata else {})}


def has_numbers(values: np.ndarray) -> bool:
    """Whether a column holds any number."""
    return values.dtype != object and not np.isnan(values).all()
