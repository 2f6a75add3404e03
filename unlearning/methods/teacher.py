"""Frozen networks whose outputs a student imitates or avoids."""

import copy

import torch
from torch import Tensor, nn

from ..types import Batch


class Teacher(nn.Module):
    """A frozen deep copy of ``network`` in eval mode, asked for its logits batch by batch.

    The copy shares no tensor with the student, else their divergence would stay zero for ever. With ``remember`` each
    sample's logits are computed once and then looked up by id: right wherever images are not augmented.
    """

    def __init__(self, network: nn.Module, remember: bool = False) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.remember = remember
        self.remembered: dict[int, Tensor] = {}

    def train(self, mode: bool = True) -> "Teacher":
        return self  # stays in eval mode whatever happens to the module that holds it

    @torch.no_grad()
    def forward(self, batch: Batch) -> Tensor:
        """(B, num_classes) logits of the batch's images."""
        if not self.remember:
            return self.network(batch.images)
        ids = batch.ids.tolist()
        if not all(i in self.remembered for i in ids):
            self.remembered.update(zip(ids, self.network(batch.images), strict=True))
        return torch.stack([self.remembered[i] for i in ids])
