"""Requests that select samples by facts about them: which of them are forgotten, and an account of the others."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from ..data.datasets import Dataset
from ..types import Count
from .base import Problem, Scenario, assemble
from .forgetting import draw


class Selected(NamedTuple):
    """The samples of a request."""

    samples: Tensor  # (N,) bool
    unknown: Tensor  # (N,) bool, those of which the facts that decide are not known: they are not selected


class Selection(Scenario):
    """Forget the training samples that a subclass selects, or at most ``cap`` of them.

    The surplus stays in the retain set, as do samples of which the facts are not known. The test samples are split by
    the same facts. The problem accounts for all of this in ``selected``:

    * ``training``: the training samples that are selected; ``surplus``: those of them that stay in the retain set;
    * ``held_out``: selected samples of the validation and test sets, which the model has not learned;
    * ``unknown``: training samples of which the facts are not known;
    * and what could not be joined when the metadata were read (see ``data.metadata.Metadata``).

    Args:
        seed: of the draw of what is forgotten, where ``cap`` leaves a choice.
        cap: the largest number of training samples to forget; all that are selected where it is None.
        first: take the first ones by their ids instead of a random draw.
    """

    def __init__(self, seed: int, cap: Count | None = None, first: bool = False) -> None:
        self.seed, self.cap, self.first = seed, cap, first

    def select(self, raw: Dataset) -> Selected:
        """The samples of the request. Raises ``UserError`` where the data do not have what it names."""
        raise NotImplementedError

    def prepare(self, raw: Dataset) -> Problem:
        return self.problem(raw, self.select(raw))

    def problem(self, raw: Dataset, selected: Selected) -> Problem:
        """The problem of forgetting what is selected, with the account of it."""
        samples, unknown = selected
        pool = raw.train[samples[raw.train]]
        count = None if self.cap is None or self.cap >= len(pool) else self.cap
        forget = draw(pool, count, None, self.seed, self.first)
        counts = {
            "training": len(pool),
            "surplus": len(pool) - len(forget),
            "held_out": int(samples[torch.cat([raw.validation, raw.test])].sum()),
            "unknown": int(unknown[raw.train].sum()),
        }
        joined = raw.metadata.counts if raw.metadata else {}
        return replace(Problem.of(raw, assemble(raw, forget, samples)), selected=counts | {**joined})
