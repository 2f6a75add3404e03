"""TREW, tilted reweighting (Ebrahimpour-Boroojeny et al., ICML 2026, arXiv:2506.20893)."""

from typing import Annotated, Any

import torch
from annotated_types import Ge, Lt
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.feed import Feed
from ..errors import UserError
from ..types import Batch, Task
from .base import Method
from .classifier import classifier_of
from .head_only import without
from .teacher import Teacher

DOUBLINGS, HALVINGS = 40, 60  # of the tilt's coefficient


class TREW(Method):
    """Teach forget samples the original's own distribution without their class, tilted towards the classes like it.

    ``CE(x_r, y_r) - sum_c q_c(x_f) ln f_c(x_f)``. With the original's probabilities p, ``r_c`` is p without the
    forgotten classes, scaled to a sum of 1. A retrained model takes a class that it never saw for those most like it,
    more than r does. So q is the distribution nearest to r (in KL) under which the expected similarity to the
    sample's class y has a given value: ``q_c ~ r_c exp(b s_c)``, with b found for each sample. ``s_c`` is the cosine
    of the rows of c and y in the original's head. The value lies between what r has and the most that there is:
    ``(1 - tilt) E_r[s] + tilt max_c s_c``.

    Args:
        model: as in ``Method``, like the other options.
        tilt: 0 is q = r, and towards 1 all goes to the most similar class.

    Raises ``UserError`` for a network that does not end with a linear layer with a row for each class.
    """

    similarities: Tensor  # (C, C) cosines between the rows of the original's head
    feed = Feed()
    needs_forget_classes = True
    knows_classes = True

    def __init__(self, model: nn.Module, tilt: Annotated[float, Ge(0), Lt(1)] = 0.1, **options: Any) -> None:
        super().__init__(model, **options)
        self.tilt = tilt
        self.teacher = Teacher(model)

    def check(self, task: Task) -> None:
        super().check(task)
        self.head(task)

    def head(self, task: Task) -> nn.Linear:
        """The model's head."""
        found = classifier_of(self.model, task)
        if not isinstance(found, nn.Linear):
            raise UserError(
                "trew compares classes by the rows of the last linear layer, and this network does not end with one "
                "that has a row for each class: use method=random_label or method=scrub",
                key="method",
                kind="conflict",
            )
        return found

    def setup(self, stage: str) -> None:
        rows = F.normalize(self.head(self.task).weight.detach().double(), dim=1)
        self.register_buffer("similarities", rows @ rows.T, persistent=False)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.teacher.remember = not self.task.augmented

    def forget_loss(self, batch: Batch) -> Tensor:
        left = without(self.teacher(batch).double(), batch.targets, self.task.forget_classes)
        targets = tilted(left, self.similarities[batch.targets], self.tilt)
        logits: Tensor = self.model(batch.images)
        return F.cross_entropy(logits, targets.to(logits))


def tilted(logits: Tensor, similarities: Tensor, tilt: float) -> Tensor:
    """(B, C) the distribution nearest to softmax(logits) with a given expected similarity; see ``TREW``.

    Classes with a logit of minus infinity have none of it. Both arguments are (B, C) float64.
    """
    there = logits.isfinite()
    base, s = logits.log_softmax(1), similarities.masked_fill(~there, 0.0)
    s = s - similarities.masked_fill(~there, -torch.inf).amax(1, keepdim=True) * there  # at most 0: nothing overflows

    def at(coefficient: Tensor) -> Tensor:
        return (base + coefficient * s).softmax(1)

    wanted = (1 - tilt) * (at(torch.zeros_like(s[:, :1])) * s).sum(1, keepdim=True)
    low, high = torch.zeros_like(wanted), torch.ones_like(wanted)
    for _ in range(DOUBLINGS):
        high = torch.where((at(high) * s).sum(1, keepdim=True) < wanted, 2 * high, high)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        short = (at(middle) * s).sum(1, keepdim=True) < wanted
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return at(low)
