"""GKT: gated knowledge transfer (Chundawat et al., 2023, "Zero-shot machine unlearning", arXiv:2201.05629)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError, require_at_least
from ..losses import distillation
from ..runtime.distributed import several
from ..types import Task
from .base import Method
from .teacher import Teacher


class Generator(nn.Module):
    """Noise (B, z) to images (B, C, H, W), each channel normalised to mean 0 and variance 1 over the batch.

    A linear layer to a quarter of the size, then twice: double the size, convolution, BatchNorm, LeakyReLU
    (Micaelli & Storkey, NeurIPS 2019, arXiv:1905.09768, appendix).
    """

    def __init__(self, z: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, *self.size = shape
        self.start = [math.ceil(side / 4) for side in self.size]
        self.linear = nn.Linear(z, 128 * math.prod(self.start))
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(128, width, 3, padding=1), nn.BatchNorm2d(width), nn.LeakyReLU(0.2))
            for width in (128, 64)
        )
        self.first = nn.BatchNorm2d(128)
        self.last = nn.Sequential(nn.Conv2d(64, channels, 3, padding=1), nn.BatchNorm2d(channels, affine=False))

    def forward(self, noise: Tensor) -> Tensor:
        maps = self.first(self.linear(noise).unflatten(1, (128, *self.start)))
        for stage, size in zip(self.stages, ([2 * side for side in self.start], self.size), strict=True):
            maps = stage(F.interpolate(maps, size=size))
        return self.last(maps)


def mapped(network: nn.Module) -> list[nn.Module]:
    """The modules whose outputs are a network's feature maps: the last one called of each of ``network.blocks``."""
    found = []
    for block in getattr(network, "blocks", [])[:-1]:  # the last is the classifier
        while type(block) in (
            nn.Sequential,
            nn.ModuleList,
        ):  # grouped for counting alone: these are not called themselves
            block = block[-1]
        found.append(block)
    return found


class Energy(torch.autograd.Function):
    """``sum_c A_c^2``, (B, H, W), of maps A (B, C, H, W), there and back in one pass over A each."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        ctx.save_for_backward(maps)
        return torch.linalg.vector_norm(maps, dim=1).square_()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (maps,) = ctx.saved_tensors
        return maps * (2 * gradient).unsqueeze(1)


@contextmanager
def attention_maps(network: nn.Module) -> Iterator[list[Tensor]]:
    """The list, filled by a forward pass inside, of attention maps (B, H W): ``sum_c A_c^2``, scaled to norm 1.

    One for each block that puts out maps A (B, C, H, W) of more than one pixel (Zagoruyko & Komodakis, ICLR 2017,
    arXiv:1612.03928, eq. 1 and 2). A network without ``blocks`` has none.
    """
    maps: list[Tensor] = []

    def note(_: nn.Module, __: tuple, output: Tensor) -> None:
        if output.ndim == 4 and output[0, 0].numel() > 1:
            maps.append(F.normalize(Energy.apply(output).flatten(1)))

    hooks = [module.register_forward_hook(note) for module in mapped(network)]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()


class GKT(Method):
    """Distil the original into a new network on generated images that the original does not take for a forgotten class.

    A step is one pseudo-batch: a draw of noise z; ``generator_steps`` of a generator that maximises
    ``KL(teacher || student)``; then ``student_steps`` of the student, from random weights, that minimises
    ``KL(teacher || student) + attention_weight sum_l mean (Q_l(teacher) - Q_l(student))^2`` with Q from
    ``attention_maps``. The gate: an image with a teacher's probability of a forgotten class above ``threshold`` is
    dropped; the share of each pseudo-batch that passes is the curve ``gate_share``. A student that learned from nothing
    has forgotten nothing either, so a run of which not one pseudo-batch passed ends with a ``UserError``. The teacher
    sees the images of the student's steps once. It knows the numbers of the classes and no data.

    Args:
        model: as in ``Method``; so are the options. One ``epoch`` is ``pseudo_batches``.
        z: size of the generator's input.
        pseudo_batches, generator_steps, student_steps: see above.
        generator_rate: of the generator's Adam.
        attention_weight, threshold: see above.
    """

    streams = ()
    sees_labels = False
    needs_forget_classes = True

    def __init__(
        self,
        model: nn.Module,
        z: int = 128,
        pseudo_batches: int = 1000,
        generator_steps: int = 2,
        student_steps: int = 15,
        generator_rate: float = 1e-3,
        attention_weight: float = 5.0,
        threshold: float = 0.01,
        **options: object,
    ) -> None:
        super().__init__(model, **options)
        require_at_least(2, batch_size=self.batch_sizes["train"])  # BatchNorm cannot train on a batch of one
        require_at_least(1, z=z, pseudo_batches=pseudo_batches)
        require_at_least(1, generator_steps=generator_steps, student_steps=student_steps)
        require_at_least(0, attention_weight=attention_weight)
        if not (generator_rate > 0 and 0 < threshold <= 1):
            raise UserError(
                f"method.generator_rate={generator_rate}, threshold={threshold}: the rate must be above 0, and the "
                "threshold, a probability, in (0, 1]"
            )
        self.z, self.free_steps, self.generator_rate = z, pseudo_batches, generator_rate
        self.generator_steps, self.student_steps = generator_steps, student_steps
        self.attention_weight, self.threshold = attention_weight, threshold
        self.teacher = Teacher(model)
        self.automatic_optimization = False

    def check(self, task: Task) -> None:
        super().check(task)
        if len(task.input_shape) != 3:
            raise UserError(f"gkt generates images, but a sample has the shape {task.input_shape}: try amnesiac")
        if several():
            raise UserError("gkt trains its generator in one process: set trainer.devices=1")

    @property
    def steps_per_epoch(self) -> int:
        return self.free_steps * self.student_steps

    def setup(self, stage: str) -> None:
        if stage == "fit":  # before a checkpoint, if the run goes on from one, brings both networks
            self.model.load_state_dict(self.task.fresh_model().state_dict())
            self.generator = Generator(self.z, self.task.input_shape).to(memory_format=torch.channels_last)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["generator_optimizer"] = self.generator_optimizer.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.optimizer_state = checkpoint["generator_optimizer"]

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.meter.watch(self.generator)
        self.generator_optimizer = torch.optim.Adam(self.generator.parameters(), self.generator_rate)
        if self.resumed:
            self.generator_optimizer.load_state_dict(self.optimizer_state)
        self.forgotten = torch.tensor(self.task.forget_classes, device=self.device)

    def gate(self, teacher_logits: Tensor) -> Tensor:
        """(B,) bool: the image may be learned from."""
        return (teacher_logits.softmax(1)[:, self.forgotten] <= self.threshold).all(1)

    def generator_loss(self, images: Tensor) -> Tensor | None:
        """``-KL(teacher || student)`` on the images that pass the gate, None where none does."""
        teacher = self.teacher.network(images)  # its weights are frozen, the gradient goes on to the images
        passed = self.gate(teacher.detach())
        return -distillation(self.model(images[passed]), teacher[passed]) if passed.sum() > 1 else None

    def student_loss(self, images: Tensor, teacher: Tensor, teacher_maps: list[Tensor]) -> Tensor:
        with attention_maps(self.model) as maps:
            loss = distillation(self.model(images), teacher)
        pairs = zip(maps, teacher_maps, strict=True)
        return loss + self.attention_weight * sum((own - other).square().mean() for own, other in pairs)

    def training_step(self, step: int, index: int) -> None:
        noise = torch.randn(self.batch_sizes["train"], self.z, device=self.device)
        for _ in range(self.generator_steps):
            loss = self.generator_loss(self.generator(noise))
            if loss is not None:
                self.curves["generator_loss"].append(loss.detach())
                weights = list(self.generator.parameters())
                for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                    weight.grad = gradient
                self.generator_optimizer.step()
        with torch.no_grad(), attention_maps(self.teacher.network) as teacher_maps:
            images = self.generator(noise)
            teacher = self.teacher.network(images)
        passed = self.gate(teacher)
        self.curves["gate_share"].append(passed.float().mean())
        if passed.sum() < 2:  # BatchNorm cannot train on a batch of one
            return
        images, teacher, teacher_maps = images[passed], teacher[passed], [m[passed] for m in teacher_maps]
        for _ in range(self.student_steps):
            self.step_on(lambda: {"train": self.student_loss(images, teacher, teacher_maps)})

    def on_train_end(self) -> None:
        super().on_train_end()
        if "train_loss" not in self.curves and not self.resumed:
            raise UserError(
                f"gkt learned nothing: never did two images of a batch pass method.threshold={self.threshold:g}, so "
                "it is random; a higher threshold, up to 1, or more method.pseudo_batches are the usual remedies"
            )
