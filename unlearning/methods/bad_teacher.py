"""Bad teacher, or blindspot, unlearning (Chundawat et al., AAAI 2023, arXiv:2205.08096)."""

from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from ..data.feed import Feed
from ..losses import MeanOver, distillation
from ..types import Batch, Fraction, Positive
from .base import Method
from .teacher import Teacher


class BadTeacher(Method):
    """Imitate a network that knows nothing on forget data, and the original on retain data.

    The loss is ``T^2 KL(softmax(teacher / T) || softmax(f / T))``, a mean over batches that mix the forget set with a
    random part of the retain set. The teacher of a forget sample is a freshly initialised network of the same
    architecture; that of a retain sample is the original. Each evaluates its own samples only. No labels are needed.

    Args:
        model: as in ``Method``, like the other options.
        temperature: T.
        mean_over: what the divergence is a mean over: the samples of a batch, or its elements, samples x classes, which
            the public codes take. The second loss is smaller by the number of classes. To Adam that makes no
            difference; the rate of SGD belongs to one of them.
        retain_share: the part of the retain set that is used.
    """

    feed = Feed(streams=("train",), labels=False)

    def __init__(
        self,
        model: nn.Module,
        temperature: Positive = 1.0,
        mean_over: MeanOver = "samples",
        retain_share: Fraction = 0.3,
        **options: Any,
    ) -> None:
        super().__init__(model, **options)
        self.feed = replace(self.feed, retain_share=retain_share)
        self.temperature, self.mean_over = temperature, mean_over
        self.competent = Teacher(model)

    def setup(self, stage: str) -> None:
        self.incompetent = Teacher(self.networks.fresh())  # a checkpoint brings its own weights for it

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.competent.remember = self.incompetent.remember = not self.task.augmented

    def train_loss(self, batch: Batch) -> Tensor:
        logits: Tensor = self.model(batch.images)
        targets = logits.detach().clone()
        for teacher, own in ((self.incompetent, batch.forget), (self.competent, ~batch.forget)):
            if own.any():
                targets[own] = teacher(batch.select(own))
        return distillation(logits, targets, self.temperature, self.mean_over)
