"""UNSIR: unlearning by selective impair and repair (Tarun et al., 2023, arXiv:2111.08947)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..addons.base import Addon
from ..data.feed import Feed, Phase
from ..errors import UserError
from ..schedules import Schedule
from ..types import Batch, Count, CountOrNone, NonNegative, PartialFraction, Several, Task
from .from_noise import FromNoise, learned_noise
from .step import BatchNormPolicy, MakeOptimizer


class UNSIR(FromNoise):
    """Learn noise on which the model errs, train on it as if it were the class to forget, then repair the rest.

    1. *Noise*: a batch of images for each named class that maximises the model's error; see ``learned_noise``.
    2. *Impair*: cross-entropy on ``copies`` of the noise, labelled as the named class, and on a random part of the
       retain set, mixed evenly.
    3. *Repair*: cross-entropy on the same retain samples only, with the optimiser's state cleared.

    All noise images are trained on, where the authors' code takes three of them.

    It serves requests that name classes and sees no forget image. If a fine class of a model of super-classes is to be
    forgotten, the named class is its super-class, the only one that the model knows: the whole super-class is impaired,
    and its other fine classes, which are retained, repair it.

    Args:
        model: as in ``Method``, like ``optimizer``, ``schedule``, ``retain_weight``, ``batch_norm``, ``addons`` and
            ``keep``.
        noise_images: noise images of each named class.
        noise_steps: Adam steps on them.
        copies: how often each noise image occurs in a pass.
        samples_per_class: retain samples used, on average over the retained classes.
        impair_epochs, repair_epochs: passes over the retain samples.
        batch_size: noise images and retain samples together in a step of impairing, on average over a pass: each pass
            has all copies.
        repair_batch_size: retain samples in a step of repairing.
    """

    feed = Feed(streams=("retain",))
    knows_classes = True

    def __init__(
        self,
        model: nn.Module,
        noise_images: Count = 32,
        noise_steps: Count = 25,
        copies: Count = 80,
        samples_per_class: Count = 500,
        impair_epochs: Count = 1,
        repair_epochs: CountOrNone = 1,
        batch_size: Several = 32,  # a noise image and a retain sample
        repair_batch_size: Count = 128,
        optimizer: MakeOptimizer | None = None,
        schedule: Schedule | None = None,
        retain_weight: NonNegative = 1.0,
        batch_norm: BatchNormPolicy = "train",
        addons: Sequence[Addon] = (),
        keep: PartialFraction | None = None,
    ) -> None:
        super().__init__(
            model,
            optimizer,
            schedule,
            epochs=impair_epochs + repair_epochs,
            batch_size=repair_batch_size,
            retain_weight=retain_weight,
            batch_norm=batch_norm,
            addons=addons,
            keep=keep,
        )
        self.noise_images, self.noise_steps, self.copies = noise_images, noise_steps, copies
        self.samples_per_class = samples_per_class
        self.impair_epochs, self.repair_epochs, self.impair_size = impair_epochs, repair_epochs, batch_size

    def check(self, task: Task) -> None:
        super().check(task)
        if not task.named_classes:
            raise UserError(
                "unsir learns noise for the classes that a request names: use scenario=class or subclass",
                key="scenario",
                kind="conflict",
            )

    def phases(self) -> Sequence[Phase]:
        size = self.task.sizes["retain"]
        wanted = self.samples_per_class * (self.task.num_classes - len(self.task.forget_classes))
        repair = replace(self.feed, retain_share=min(1.0, wanted / size))
        retained = repair.retain_share * size
        part = round(self.impair_size * retained / (retained + self.noise_rows))
        part = min(max(part, 1), self.impair_size - 1)
        # A lone retain sample is no batch of one where noise images complete it; see ``refuse_batches_of_one``.
        impair = replace(repair, batch_sizes={**repair.batch_sizes, "retain": part}, full_batches=False)
        return [
            Phase("impair", impair, self.impair_epochs),
            Phase("repair", repair, self.repair_epochs, begin=self.clear_optimizer),
        ]

    def clear_optimizer(self) -> None:
        """Drop the optimiser's state, such as its momenta."""
        optimizer: Any = self.optimizers(use_pl_optimizer=False)
        optimizer.state.clear()

    @property
    def noise_rows(self) -> int:
        """Noise images in a pass, all copies counted."""
        return self.copies * self.noise_images * len(self.task.named_classes)

    def classes_of_noise(self) -> Tensor:
        return torch.tensor(self.task.named_classes).repeat(self.noise_images)

    def learned(self) -> Tensor:
        shape = self.task.input_shape
        return learned_noise(self.model, self.noise_labels, shape, self.noise_steps, maximise=True)

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.steps = self.data.steps(self.phase.feed)  # of this pass, computed once
        if self.phase.name == "impair" and self.feed.full_batches:
            self.refuse_batches_of_one()

    def refuse_batches_of_one(self) -> None:
        """Raise ``UserError`` where a retain sample and no noise image are a whole batch of impairing."""
        plan = self.data.plan("retain", self.phase.feed)
        retained = [plan.batch_size] * (plan.steps - 1) + [plan.samples - (plan.steps - 1) * plan.batch_size]
        noise = [len(self.noise_in(step)) // self.trainer.world_size for step in range(self.steps)]
        if min(map(sum, zip(retained, noise, strict=True))) == 1:
            raise UserError(
                "impairing has batches of one retain sample and no noise image, on which BatchNorm cannot train: use "
                "a larger method.batch_size, more method.noise_images or copies of them, or method.batch_norm=eval",
                key="method.batch_size",
            )

    def noise_in(self, step: int) -> range:
        """The copies of noise images in a step, over all processes, by number.

        The number of them differs by at most one between steps, so that a pass has exactly all copies.
        """
        rows = self.noise_rows
        return range(step * rows // self.steps, (step + 1) * rows // self.steps)

    def retain_loss(self, batch: Batch) -> Tensor:
        images, labels = batch.images, batch.targets
        if self.phase.name == "impair":
            own = torch.tensor(
                self.noise_in(self.trainer.fit_loop.total_batch_idx), dtype=torch.int64, device=self.device
            )
            own = own[self.trainer.global_rank :: self.trainer.world_size] % len(self.noise)  # processes share a batch
            images, labels = torch.cat([images, self.noise[own]]), torch.cat([labels, self.noise_labels[own]])
        return self.cross_entropy(self.model(images), labels)
