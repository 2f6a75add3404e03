"""UNSIR: unlearning by selective impair and repair (Tarun et al., 2023, arXiv:2111.08947)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError, require_at_least
from ..types import Batch, Task
from .base import Method


def learned_noise(
    model: nn.Module, labels: Tensor, shape: tuple[int, ...], steps: int, maximise: bool, rate: float = 0.1
) -> Tensor:
    """Inputs (len(labels), *shape) on which the model errs as much, or as little, as can be.

    Beginning at ``N(0, 1)``, Adam minimises ``CE(f(N), labels) + 0.1 mean_b sum N_b^2``, with the cross-entropy negated
    where the error is maximised (Tarun et al., 2023, eq. 2; Chundawat et al., 2023, arXiv:2201.05629, eq. 3).
    """
    noise = torch.randn(len(labels), *shape, device=labels.device, requires_grad=True)
    optimizer = torch.optim.Adam([noise], rate)
    for _ in range(steps):
        error = F.cross_entropy(model(noise), labels)
        loss = (-error if maximise else error) + 0.1 * noise.square().flatten(1).sum(1).mean()
        (noise.grad,) = torch.autograd.grad(loss, noise)
        optimizer.step()
    return noise.detach()


class FromNoise(Method):
    """A method that begins with learning noise images, to train on; a resumed run goes on with those that it had."""

    noise: Tensor
    noise_labels: Tensor  # of each image

    def classes_of_noise(self) -> Tensor:
        """The class of each image to be learned."""
        raise NotImplementedError

    def learned(self) -> Tensor:
        """The images of ``noise_labels``, (len(noise_labels), *input_shape), learned from the model in eval mode."""
        raise NotImplementedError

    def on_train_start(self) -> None:
        self.noise_labels = self.classes_of_noise().to(self.device)
        if self.resumed:
            self.noise = self.noise.to(self.device)
            return
        self.model.eval()
        with self.meter.item("noise"):
            self.noise = self.learned()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["noise"] = self.noise

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.noise = checkpoint["noise"]


class UNSIR(FromNoise):
    """Learn noise on which the model errs, train on it as if it were the class to forget, then mend the rest.

    1. *Noise*: a batch of images for each named class that maximises the model's error; see ``learned_noise``.
    2. *Impair*: cross-entropy on ``copies`` of the noise, labelled as the named class, and on a random part of the
       retain set, mixed evenly.
    3. *Repair*: cross-entropy on the same retain samples alone, with the optimiser's state cleared.

    It serves requests that name classes and sees no forget image. Where a fine class of a model of super-classes is to
    be forgotten, the name is that of its super-class, the only one that the model knows: the whole of it is impaired,
    and its other fine classes, which are retained, repair it.

    Args:
        model: as in ``Method``; so are the options.
        noise_images: noise images of each named class.
        noise_steps: Adam steps on them.
        copies: how often each noise image occurs in a pass.
        samples_per_class: retain samples used, in the mean over the retained classes.
        impair_epochs, repair_epochs: passes over the retain samples.
        batch_size: of impairing, noise and retain samples together: on average, as each pass has all copies.
        repair_batch_size: of repairing.
    """

    streams = ("retain",)

    def __init__(
        self,
        model: nn.Module,
        noise_images: int = 32,
        noise_steps: int = 25,
        copies: int = 80,
        samples_per_class: int = 500,
        impair_epochs: int = 1,
        repair_epochs: int = 1,
        batch_size: int = 32,
        repair_batch_size: int = 128,
        **options: object,
    ) -> None:
        require_at_least(1, noise_images=noise_images, noise_steps=noise_steps, copies=copies)
        require_at_least(1, samples_per_class=samples_per_class, impair_epochs=impair_epochs)
        require_at_least(0, repair_epochs=repair_epochs)
        require_at_least(2, batch_size=batch_size)  # a noise image and a retain sample
        require_at_least(1, repair_batch_size=repair_batch_size)
        super().__init__(model, epochs=impair_epochs + repair_epochs, batch_size=repair_batch_size, **options)
        self.noise_images, self.noise_steps, self.copies = noise_images, noise_steps, copies
        self.samples_per_class = samples_per_class
        self.impair_epochs, self.impair_size, self.repair_size = impair_epochs, batch_size, repair_batch_size

    @property
    def retain_share(self) -> float:
        wanted = self.samples_per_class * (self.task.num_classes - len(self.task.forget_classes))
        return min(1.0, wanted / self.task.sizes["retain"])

    def check(self, task: Task) -> None:
        super().check(task)
        if not task.named_classes:
            raise UserError("unsir learns noise for the classes that a request names: use scenario=class or subclass")

    @property
    def noise_rows(self) -> int:
        """Noise images, all copies of them, of a pass."""
        return self.copies * self.noise_images * len(self.task.named_classes)

    def setup(self, stage: str) -> None:
        retain = self.retain_share * self.task.sizes["retain"]
        part = round(self.impair_size * retain / (retain + self.noise_rows))
        self.retain_part = min(max(part, 1), self.impair_size - 1)
        self.set_batch_size(epoch=0)

    def set_batch_size(self, epoch: int) -> None:
        """Of the retain stream in the phase of that epoch."""
        self.batch_sizes["retain"] = self.retain_part if epoch < self.impair_epochs else self.repair_size

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["retain_batch_size"] = self.batch_sizes["retain"]  # of the phase that comes next

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.batch_sizes["retain"] = checkpoint["retain_batch_size"]

    def classes_of_noise(self) -> Tensor:
        return torch.tensor(self.task.named_classes).repeat(self.noise_images)

    def learned(self) -> Tensor:
        shape = self.task.input_shape
        return learned_noise(self.model, self.noise_labels, shape, self.noise_steps, maximise=True)

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.steps = self.steps_per_epoch
        if self.current_epoch == self.impair_epochs:
            self.optimizers(use_pl_optimizer=False).state.clear()

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.set_batch_size(self.current_epoch + 1)

    def retain_loss(self, batch: Batch) -> Tensor:
        images, labels = batch.images, batch.labels
        if self.current_epoch < self.impair_epochs:
            step, rows = self.trainer.global_step, self.noise_rows
            # Steps differ by one image, so that a pass has all copies and no more.
            rows = torch.arange(step * rows // self.steps, (step + 1) * rows // self.steps, device=self.device)
            rows = rows[self.trainer.global_rank :: self.trainer.world_size] % len(self.noise)  # they share a batch
            images, labels = torch.cat([images, self.noise[rows]]), torch.cat([labels, self.noise_labels[rows]])
        return self.cross_entropy(self.model(images), labels)
