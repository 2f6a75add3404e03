"""EMMN: zero-shot unlearning by error-maximising and -minimising noise (Chundawat et al., 2023, arXiv:2201.05629)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..data.feed import Feed, Phase
from ..types import Batch, Count
from .from_noise import FromNoise, learned_noise


class EMMN(FromNoise):
    """Train on noise alone, on which the model errs most (forgotten classes) or least (the others).

    The method knows the numbers of the classes and sees no data at all. Batches are drawn at random from the noise
    images of all classes, and cross-entropy with the class as the label is minimised. Noise of both kinds is kept small
    by ``learned_noise``; the authors' code does that for the forgotten classes only.

    Args:
        model: as in ``Method``, like the other options.
        noise_images: noise images of each class.
        maximise_steps, minimise_steps: Adam steps on the images of a forgotten and of a retained class.
        copies: how often each image occurs in an epoch, on average.
    """

    feed = Feed(streams=())
    needs_forget_classes = knows_classes = True

    def __init__(
        self,
        model: nn.Module,
        noise_images: Count = 32,
        maximise_steps: Count = 25,
        minimise_steps: Count = 30,
        copies: Count = 80,
        **options: Any,
    ) -> None:
        super().__init__(model, **options)
        self.noise_images, self.copies = noise_images, copies
        self.maximise_steps, self.minimise_steps = maximise_steps, minimise_steps

    def phases(self) -> Sequence[Phase]:
        images = self.copies * self.noise_images * self.task.num_classes
        steps = max(1, images // self.feed.batch_sizes["train"])
        return [Phase("train", replace(self.feed, steps=steps), self.epochs)]

    def classes_of_noise(self) -> Tensor:
        return torch.arange(self.task.num_classes).repeat_interleave(self.noise_images)

    def learned(self) -> Tensor:
        noise = []
        for labels in self.noise_labels.split(self.noise_images):
            forget = int(labels[0]) in self.task.forget_classes
            steps = self.maximise_steps if forget else self.minimise_steps
            noise.append(learned_noise(self.model, labels, self.task.input_shape, steps, maximise=forget))
        return torch.cat(noise)

    def training_step(self, step: int, index: int) -> Tensor | None:  # type: ignore[override]
        rows = torch.randint(len(self.noise), (self.feed.batch_sizes["train"],), device=self.device)
        rows = rows[self.trainer.global_rank :: self.trainer.world_size]  # processes share a batch
        forget = torch.isin(self.noise_labels[rows], torch.tensor(self.task.forget_classes, device=self.device))
        return super().training_step({"train": Batch(self.noise[rows], self.noise_labels[rows], rows, forget)}, index)
