"""EMMN: zero-shot unlearning by error-maximising and -minimising noise (Chundawat et al., 2023, arXiv:2201.05629)."""

import torch
from torch import nn

from ..errors import require_at_least
from ..types import Batch
from .unsir import FromNoise, learned_noise


class EMMN(FromNoise):
    """Train on noise alone, on which the model errs most (forgotten classes) or least (the others).

    It knows the numbers of the classes and sees no data at all. Batches are drawn at random from the noise images of
    all classes, and cross-entropy with the class as label is minimised.

    Args:
        model: as in ``Method``; so are the options.
        noise_images: noise images of each class.
        maximise_steps, minimise_steps: Adam steps on those of a forgotten and of a retained class.
        copies: how often each occurs in an epoch, on average.
    """

    streams = ()
    needs_forget_classes = True

    def __init__(
        self,
        model: nn.Module,
        noise_images: int = 32,
        maximise_steps: int = 25,
        minimise_steps: int = 30,
        copies: int = 80,
        **options: object,
    ) -> None:
        super().__init__(model, **options)
        require_at_least(1, noise_images=noise_images, copies=copies)
        require_at_least(1, maximise_steps=maximise_steps, minimise_steps=minimise_steps)
        self.noise_images, self.copies = noise_images, copies
        self.maximise_steps, self.minimise_steps = maximise_steps, minimise_steps

    @property
    def steps_per_epoch(self) -> int:
        return max(1, self.copies * self.noise_images * self.task.num_classes // self.batch_sizes["train"])

    @property
    def free_steps(self) -> int:
        return self.steps_per_epoch * self.trainer.world_size  # each process takes part in every step

    def classes_of_noise(self) -> torch.Tensor:
        return torch.arange(self.task.num_classes).repeat_interleave(self.noise_images)

    def learned(self) -> torch.Tensor:
        noise = []
        for labels in self.noise_labels.split(self.noise_images):
            forget = int(labels[0]) in self.task.forget_classes
            steps = self.maximise_steps if forget else self.minimise_steps
            noise.append(learned_noise(self.model, labels, self.task.input_shape, steps, maximise=forget))
        return torch.cat(noise)

    def training_step(self, step: int, index: int) -> torch.Tensor | None:
        rows = torch.randint(len(self.noise), (self.batch_sizes["train"],), device=self.device)
        rows = rows[self.trainer.global_rank :: self.trainer.world_size]  # processes share a batch
        forget = torch.isin(self.noise_labels[rows], torch.tensor(self.task.forget_classes, device=self.device))
        return super().training_step({"train": Batch(self.noise[rows], self.noise_labels[rows], rows, forget)}, index)
