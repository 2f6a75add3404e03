"""Perturbed-sign Langevin unlearning (arXiv:2505.21872) and Boundary Shrink (Chen et al., CVPR 2023), its special case.

Boundary Shrink is arXiv:2303.11570, section 3.2.
"""

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..gradients.sign_attack import Box, Draw, Kind, SignAttack, drawn
from ..runtime.common_random import CommonRandom
from ..runtime.distributed import gathered
from ..types import Batch, Count, NonNegative, Task
from .base import Method
from .teacher import Teacher

Targets = Literal["hard", "soft"]


class Attacked(Teacher):
    """The original, which answers for each sample at a point near it, where an attack on the original has led.

    Args:
        network: the original model.
        attack: moves the samples in pixel space.
    """

    box: Box  # from pixels to inputs; set before the first batch

    def __init__(self, network: nn.Module, attack: SignAttack) -> None:
        super().__init__(network)
        self.attack = attack
        self.random = CommonRandom("langevin")

    def logits(self, pixels: Tensor) -> Tensor:
        """(B, num_classes) logits of pixels (B, ...)."""
        found: Tensor = self.network(self.box.inputs(pixels))
        return found

    def answer(self, batch: Batch) -> Tensor:
        box = self.box = self.box.to(batch.images)
        draw = self.by_sample(batch.ids)
        return self.logits(self.attack.moved(self.logits, box.pixels(batch.images), batch.targets, draw))

    def by_sample(self, ids: Tensor) -> Draw:
        """Draws for the samples ``ids`` (B,): those of the batch of all processes, in the order of its ids."""

        def draw(kind: Kind, like: Tensor) -> Tensor:
            every = gathered(ids).unique()  # sorted; gathered only where there is noise, for all have it or none
            whole = drawn(kind, like.new_empty(len(every), *like.shape[1:]), self.random.on(like.device))
            return whole[torch.searchsorted(every, ids)]

        return draw


class Langevin(Method):
    """Teach each forget sample the class that lies nearest to it across the decision boundary.

    ``L = forget_weight CE(f(x), y') + retain_weight CE(f(x_r), y_r)`` where y' is the class that the original, frozen
    and in eval mode, gives to a point near x. An attack in pixel space finds that point anew in every step; see
    ``SignAttack``. Its noise (``gamma``) and pull (``lam``) are the paper's in another unit: they are added to a
    sample's own gradient, the paper's to the gradient of a mean over a batch of 64, and so are 64 times as large here.
    Without them this is Boundary Shrink. The paper's phi is ``retain_weight``; where it is 0 the method sees forget
    samples alone.

    The box of the attack is [0, 1] for images. The range of float samples is that of the forget set.

    The curve ``attack_success`` is the share of the attacked samples whose class changes. The others are taught their
    own class, as in the authors' code.

    Noise and random starts are drawn for the batch that all processes share, and go by the ids of its samples: the
    same batches have the same noise however many processes there are.

    Args:
        model: as in ``Method``, like the other options.
        attack: see above; its gradients are those of the original model.
        targets: of the forget samples: the class itself (``hard``), or all probabilities at that point (``soft``).
        retain_targets: of the retain samples: their labels, or the original's probabilities.
        top_k: soft targets have only that many classes, the most probable ones, scaled to a sum of 1, and more where
            others are as probable as the last of these; None for all.

    Raises ``UserError`` for options without an effect.
    """

    def __init__(
        self,
        model: nn.Module,
        attack: SignAttack | None = None,
        targets: Targets = "hard",
        retain_targets: Targets = "hard",
        top_k: Count | None = None,
        retain_weight: NonNegative = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(model, retain_weight=retain_weight, **options)
        if top_k is not None and targets == "hard" and not (retain_weight and retain_targets == "soft"):
            raise UserError(
                f"method.top_k={top_k} has no effect on hard targets: leave it null, or set method.targets=soft, or "
                "method.retain_targets=soft with a method.retain_weight above 0",
                key="method.top_k",
                kind="conflict",
            )
        self.feed = replace(self.feed, streams=("forget", "retain") if retain_weight else ("forget",))
        self.targets, self.retain_targets, self.top_k = targets, retain_targets, top_k
        self.attacked = Attacked(model, attack or SignAttack())
        self.randoms = (self.attacked.random,)
        self.teacher = Teacher(model) if retain_weight and retain_targets == "soft" else None

    def check(self, task: Task) -> None:
        super().check(task)
        attack = self.attacked.attack
        if attack.lam and not attack.pulled:
            raise UserError(
                f"method.attack.lam={attack.lam:g} has no effect: it draws back to the sample, where the first step "
                "starts, and a linear schedule is at 0 in the last step. Set it to 0, or take more "
                "method.attack.steps, or method.attack.random_start=true",
                key="method.attack.lam",
                kind="conflict",
            )
        if not attack.lam and attack.lam_schedule != "none":
            raise UserError(
                f"method.attack.lam_schedule={attack.lam_schedule} has no effect, since method.attack.lam is 0: set it "
                "to none, or method.attack.lam above 0",
                key="method.attack.lam_schedule",
                kind="conflict",
            )
        if self.retain_targets == "soft" and self.teacher is None:
            raise UserError(
                "method.retain_targets=soft has no effect, since method.retain_weight is 0: set it to hard, or "
                "method.retain_weight above 0",
                key="method.retain_targets",
                kind="conflict",
            )

    def on_fit_start(self) -> None:
        super().on_fit_start()
        bounds = self.data.bounds
        self.attacked.box = self.range_of_forget_set() if bounds is None else Box(*bounds)
        self.attacked.remember = not self.task.augmented and self.attacked.attack.deterministic
        if self.teacher is not None:
            self.teacher.remember = not self.task.augmented

    def range_of_forget_set(self) -> Box:
        """The smallest and the largest value of each feature, or of each channel."""
        rows = [batch.images.movedim(1, -1).reshape(-1, batch.images.shape[1]) for batch in self.look("forget")]
        lows, highs = (torch.stack([*bounds]) for bounds in zip(*(row.aminmax(dim=0) for row in rows), strict=True))
        shape = (-1, *[1] * (len(self.task.input_shape) - 1))
        return Box(lows.amin(0).view(shape), highs.amax(0).view(shape))

    def soft(self, logits: Tensor) -> Tensor:
        """(B, num_classes) probabilities, of the ``top_k`` most probable classes alone."""
        if self.top_k is not None and self.top_k < logits.shape[1]:
            least = logits.topk(self.top_k, dim=1).values[:, -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        return logits.softmax(1)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["langevin"] = self.attacked.random.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.attacked.random.load_state_dict(checkpoint["langevin"])

    def nearest(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The original's logits (B, num_classes) at the attacked points, and the targets that follow from them."""
        logits = self.attacked(batch)
        classes = logits.argmax(1)
        self.curves["attack_success"].append((classes != batch.targets).float().mean())
        return logits, classes if self.targets == "hard" else self.soft(logits)

    def forget_loss(self, batch: Batch) -> Tensor:
        _, targets = self.nearest(batch)
        return self.cross_entropy(self.model(batch.images), targets)

    def retain_loss(self, batch: Batch) -> Tensor:
        if self.teacher is None:
            return super().retain_loss(batch)
        return self.cross_entropy(self.model(batch.images), self.soft(self.teacher(batch)))
