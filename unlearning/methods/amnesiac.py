"""Amnesiac unlearning by relabelling (Graves et al., AAAI 2021, arXiv:2010.10981)."""

import random
from typing import Any

import torch
from torch import Tensor

from ..data.feed import Feed
from ..types import Batch
from .base import Method


class Amnesiac(Method):
    """Minimise cross-entropy on the whole training set, with wrong labels on the forget set.

    Each forget sample gets one label, drawn uniformly from the classes other than its own and, where whole classes are
    forgotten, other than those. It keeps that label in every epoch.
    """

    feed = Feed(streams=("train",))
    knows_classes = True

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if not self.resumed:
            self.seed = torch.initial_seed()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["wrong_labels_seed"] = self.seed

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.seed = checkpoint["wrong_labels_seed"]

    def wrong_label(self, sample: int, label: int) -> int:
        """The label that replaces a forget sample's own; a function of its id, the same in every process."""
        others = [c for c in range(self.task.num_classes) if c != label and c not in self.task.forget_classes]
        return random.Random(f"{self.seed} {sample}").choice(others)

    def train_loss(self, batch: Batch) -> Tensor:
        samples = zip(batch.ids.tolist(), batch.targets.tolist(), batch.forget.tolist(), strict=True)
        labels = [self.wrong_label(i, label) if forget else label for i, label, forget in samples]
        return self.cross_entropy(self.model(batch.images), torch.tensor(labels, device=self.device))
