"""SCRUB (Kurmanji et al., NeurIPS 2023, arXiv:2302.09880)."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from ..losses import distillation
from ..types import Batch
from .base import Method
from .teacher import Teacher


class Scrub(Method):
    """Move away from the teacher on forget data, stay with it on retain data, in alternating passes.

    Each of the first ``msteps`` epochs opens with a pass over the forget set that maximises ``KL_T(teacher || student)``;
    every epoch passes over the retain set and minimises ``gamma CE + alpha KL_T(teacher || student)``. ``KL_T`` softens
    both by the temperature T and is multiplied by T^2. The teacher is the original model, frozen.
    """

    def __init__(
        self,
        model: nn.Module,
        alpha: float = 0.5,
        gamma: float = 1.0,
        temperature: float = 4.0,
        msteps: int = 2,
        **options: object,
    ) -> None:
        super().__init__(model, **options)
        self.alpha, self.gamma, self.temperature, self.msteps = alpha, gamma, temperature, msteps
        self.teacher = Teacher(model)

    @property
    def passes(self) -> int:
        return self.epochs + min(self.msteps, self.epochs)

    @property
    def maximising(self) -> bool:
        """Whether the current pass is one over the forget set."""
        return self.current_epoch % 2 == 0 and self.current_epoch < 2 * self.msteps

    @property
    def streams(self) -> Sequence[str]:
        return ("forget",) if self.maximising else ("retain",)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of a retain pass: the schedule stands still while the forget passes run."""
        return self.steps_over(["retain"])

    def lr_scheduler_step(self, scheduler, metric) -> None:
        if not self.maximising:
            super().lr_scheduler_step(scheduler, metric)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.teacher.remember = not self.task.augmented

    def divergence(self, batch: Batch, logits: Tensor) -> Tensor:
        """``KL_T(teacher || student)`` on a batch, in nats."""
        return distillation(logits, self.teacher(batch), self.temperature)

    def forget_loss(self, batch: Batch) -> Tensor:
        return -self.divergence(batch, self.model(batch.images))

    def retain_loss(self, batch: Batch) -> Tensor:
        logits = self.model(batch.images)
        return self.gamma * F.cross_entropy(logits, batch.labels) + self.alpha * self.divergence(batch, logits)
