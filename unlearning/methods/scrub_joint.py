"""The bi-objective form of SCRUB (Kurmanji et al., NeurIPS 2023, arXiv:2302.09880)."""

from typing import Any

from torch import Tensor, nn

from ..losses import distillation
from ..types import Batch, NonNegative, Positive
from .base import Method
from .teacher import Teacher


class ScrubJoint(Method):
    """Move away from the teacher on forget data and stay with it on retain data, both in every step.

    ``L_forget = -KL_T(teacher || student)`` and ``L_retain = gamma CE + alpha KL_T(teacher || student)``, weighted by
    ``forget_weight`` and ``retain_weight``. ``KL_T`` softens both by the temperature T and is multiplied by T^2. The
    teacher is the original model, frozen. ``scrub`` applies the two losses in alternating passes, as its authors do.

    Args:
        model: as in ``Method``, like the other options.
        alpha: weight of the divergence on retain data.
        gamma: weight of the cross-entropy on retain data.
        temperature: T.
    """

    def __init__(
        self,
        model: nn.Module,
        alpha: NonNegative = 1.0,
        gamma: NonNegative = 1.0,
        temperature: Positive = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(model, **options)
        self.alpha, self.gamma, self.temperature = alpha, gamma, temperature
        self.teacher = Teacher(model)

    @property
    def smooths(self) -> bool:
        return self.gamma > 0

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.teacher.remember = not self.task.augmented

    def logits_and_divergence(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The student's logits on a batch, and ``KL_T(teacher || student)`` in nats."""
        targets = self.teacher(batch)  # first, while the student's graph does not yet take memory
        logits = self.model(batch.images)
        return logits, distillation(logits, targets, self.temperature)

    def forget_loss(self, batch: Batch) -> Tensor:
        _, divergence = self.logits_and_divergence(batch)
        return -divergence

    def retain_loss(self, batch: Batch) -> Tensor:
        logits, divergence = self.logits_and_divergence(batch)
        return self.gamma * self.cross_entropy(logits, batch.labels) + self.alpha * divergence
