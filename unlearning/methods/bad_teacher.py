"""Bad teacher, or blindspot, unlearning (Chundawat et al., AAAI 2023, arXiv:2205.08096)."""

from torch import Tensor, nn

from ..errors import UserError
from ..losses import distillation
from ..types import Batch
from .base import Method
from .teacher import Teacher


class BadTeacher(Method):
    """Imitate a network that knows nothing on forget data, and the original on retain data.

    ``L = T^2 KL(softmax(teacher / T) || softmax(f / T))``, mean over batches of the forget set and a random part of the
    retain set together. The teacher of a forget sample is a freshly initialised network of the same architecture, that
    of a retain sample the original; each evaluates its own samples alone. No labels are needed.

    Args:
        model: as in ``Method``; so are the options.
        temperature: T.
        retain_share: the part of the retain set that is used.
    """

    streams = ("train",)
    sees_labels = False

    def __init__(
        self, model: nn.Module, temperature: float = 1.0, retain_share: float = 0.3, **options: object
    ) -> None:
        super().__init__(model, **options)
        if temperature <= 0 or not 0 < retain_share <= 1:
            raise UserError(
                f"method.temperature={temperature}, retain_share={retain_share}: the temperature must be above 0 and "
                "the share in (0, 1]"
            )
        self.temperature, self.retain_share = temperature, retain_share
        self.competent = Teacher(model)

    def setup(self, stage: str) -> None:
        self.incompetent = Teacher(self.task.fresh_model())  # a checkpoint brings its own

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.competent.remember = self.incompetent.remember = not self.task.augmented

    def train_loss(self, batch: Batch) -> Tensor:
        logits = self.model(batch.images)
        targets = logits.detach().clone()
        for teacher, own in ((self.incompetent, batch.forget), (self.competent, ~batch.forget)):
            if own.any():
                targets[own] = teacher(Batch(*(None if part is None else part[own] for part in batch)))
        return distillation(logits, targets, self.temperature)
