"""Samples of a data set, fetched a batch at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from ..types import Batch
from .datasets import Dataset


class Rows(TorchDataset[Batch]):
    """The samples ``ids`` of a data set, fetched a whole batch at a time: one gather instead of B items."""

    def __init__(self, dataset: Dataset, ids: Tensor, is_forget: Tensor, labels: bool = True) -> None:
        self.dataset, self.ids, self.is_forget, self.labels = dataset, ids, is_forget, labels

    def __len__(self) -> int:
        return len(self.ids)

    def __getitems__(self, positions: list[int]) -> Batch:
        rows = self.ids[torch.tensor(positions)]
        labels = self.dataset.labels[rows] if self.labels else None
        return Batch(self.dataset.inputs.index_select(0, rows), labels, rows, self.is_forget[rows])


def as_is(batch: Any) -> Any:
    """Collate function for a data set that already returns whole batches."""
    return batch
