"""Frozen networks whose outputs a student imitates or avoids."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ..types import Batch


class Teacher(nn.Module):
    """A frozen deep copy of a network in eval mode, which returns the logits of batches.

    The copy shares no tensor with the student; otherwise their divergence would always be zero.

    Args:
        network: what is copied.
        remember: compute each sample's logits once and then look them up by id. This is right only if images are not
            augmented.
    """

    def __init__(self, network: nn.Module, remember: bool = False) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.remember = remember
        self.remembered: dict[int, Tensor] = {}

    def train(self, mode: bool = True) -> Teacher:
        """Stay in eval mode, even if the module that holds the teacher is set to training mode."""
        return self

    @torch.no_grad()
    def forward(self, batch: Batch) -> Tensor:
        """(B, num_classes) logits of the batch's images."""
        if not self.remember:
            return self.answer(batch)
        ids = batch.ids.tolist()
        if not all(i in self.remembered for i in ids):
            self.remembered.update(zip(ids, self.answer(batch), strict=True))
        return torch.stack([self.remembered[i] for i in ids])

    def answer(self, batch: Batch) -> Tensor:
        """The logits, computed."""
        logits: Tensor = self.network(batch.images)
        return logits
