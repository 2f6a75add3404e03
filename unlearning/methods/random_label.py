"""Random labels (Golatkar et al., CVPR 2020, arXiv:1911.04933, section 5) as a bi-objective method."""

import torch
from torch import Tensor

from ..types import Batch
from .base import Method


class RandomLabel(Method):
    """Teach the forget set wrong labels, which are redrawn for every batch, and the retain set its own labels.

    ``b CE(x_r, y_r) + (1 - b) CE(x_f, y')`` with y' uniform over the C - 1 classes other than y_f: SRL in the feasible
    updates paper (arXiv:2511.02435). ``b`` is ``retain_weight`` and ``1 - b`` is ``forget_weight``. ``amnesiac`` gives
    each sample one wrong label for the whole run instead.
    """

    def forget_loss(self, batch: Batch) -> Tensor:
        classes = self.task.num_classes
        wrong = (batch.targets + torch.randint_like(batch.targets, 1, classes)) % classes
        return self.cross_entropy(self.model(batch.images), wrong)
