"""A change of the classifier's head alone: the control that an evaluation must not be fooled by."""

from typing import Any

import torch
from torch import Tensor, nn

from ..data.feed import Feed
from ..errors import UserError
from ..types import Batch
from .cf_k import CFk
from .teacher import Teacher


class HeadOnly(CFk):
    """Teach the head alone to call each forget sample by its second guess, and retain samples by their labels.

    ``CE(x_r, y_r) + CE(x_f, y')`` with ``y'`` the class to which the original gives most besides the sample's own
    label and the classes that are forgotten. The blocks before the head stay as they are, and with them the features:
    metrics of the output see a class forgotten at no cost to the others, while a probe of the features recovers it as
    well as before ("An illusion of unlearning?", arXiv:2604.08271, where adjusting the head alone is such a control).
    It is a row to compare others with, not a method to use.

    Args:
        model: as in ``CFk``, like the other options.
        k: the number of blocks that count as the head: 1 is the last layer.

    Raises ``UserError`` for k = -1, which would train all blocks.
    """

    feed = Feed()
    knows_classes = True

    def __init__(self, model: nn.Module, k: int = 1, **options: Any) -> None:
        super().__init__(model, k, **options)
        if k < 1:
            raise UserError("head_only leaves the blocks before the head as they are: use method.k=1", key="method.k")
        self.teacher = Teacher(model)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.teacher.remember = not self.task.augmented

    def forget_loss(self, batch: Batch) -> Tensor:
        guesses = without(self.teacher(batch), batch.targets, self.task.forget_classes).argmax(1)
        return self.cross_entropy(self.model(batch.images), guesses)


def without(logits: Tensor, labels: Tensor, forgotten: tuple[int, ...]) -> Tensor:
    """Logits (B, C) with minus infinity for each sample's label (B,) and for the classes that are forgotten."""
    out = torch.nn.functional.one_hot(labels, logits.shape[1]).bool()
    out[:, list(forgotten)] = True
    return logits.masked_fill(out, -torch.inf)
