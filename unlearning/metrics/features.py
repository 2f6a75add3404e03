"""The penultimate features that metrics look at: those of a limited number of samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..types import Split

LIMIT = 2000  # samples of each set
SETS = ("forget", "retain", "test_forget", "test_retain")


@dataclass(frozen=True)
class Features:
    """What enters the head of one model, for some of the samples.

    Args:
        ids: (M,) sorted ids of these samples.
        values: (M, D) float32.
        layers: (M, D_l) outputs of each block by its name, from input to head; empty where no metric needs them.
    """

    ids: Tensor
    values: Tensor
    layers: Mapping[str, Tensor] = field(default_factory=dict)

    def among(self, ids: Tensor) -> Tensor:
        """Those of the ids that there are features of, in their order."""
        return ids[torch.isin(ids, self.ids)]

    def of(self, ids: Tensor) -> Tensor:
        """(len(ids), D) float64 features of samples that there are features of."""
        return self.values[torch.searchsorted(self.ids, ids)].double()

    def of_layer(self, name: str, ids: Tensor) -> Tensor:
        """(len(ids), D_l) float64 outputs of a block for samples that there are features of."""
        return self.layers[name][torch.searchsorted(self.ids, ids)].double()


def looked_at(split: Split, limit: int = LIMIT) -> Tensor:
    """Sorted ids of the samples whose features metrics look at: at most ``limit`` of each set, drawn at random.

    The draw is the same for all models and runs with these sets.
    """
    return torch.cat([drawn(split.sets[name], limit) for name in SETS]).unique()


def drawn(ids: Tensor, limit: int) -> Tensor:
    """At most ``limit`` of the ids, drawn at random and always the same."""
    return ids[torch.randperm(len(ids), generator=torch.Generator().manual_seed(0))[:limit]]
