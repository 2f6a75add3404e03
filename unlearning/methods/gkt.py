"""GKT: gated knowledge transfer (Chundawat et al., 2023, "Zero-shot machine unlearning", arXiv:2201.05629)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.feed import Feed
from ..errors import UserError
from ..gradients.vectors import flatten, parts
from ..losses import distillation
from ..runtime.distributed import several
from ..types import Count, Fraction, Gradients, NonNegative, Positive, Several, Task
from .base import Method
from .teacher import Teacher


class Generator(nn.Module):
    """Map noise (B, z) to images (B, C, H, W), each channel normalised to mean 0 and variance 1 over the batch.

    A linear layer makes maps of a quarter of the image's size. Two stages follow, each of which doubles the size and
    applies a convolution, BatchNorm and LeakyReLU (Micaelli & Storkey, NeurIPS 2019, arXiv:1905.09768, appendix).
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
    """The modules whose outputs are a network's feature maps: the last module called in each of ``network.blocks``."""
    found = []
    blocks = cast(list[nn.Module], getattr(network, "blocks", []))
    for block in blocks[:-1]:  # the last is the classifier
        # A plain container only groups layers for counting; it is not called itself.
        while type(block) in (nn.Sequential, nn.ModuleList):
            *_, block = block.children()
        found.append(block)
    return found


class Energy(torch.autograd.Function):
    """``sum_c A_c^2``, (B, H, W), of maps A (B, C, H, W); forward and backward take one pass over A each."""

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
    """A list that a forward pass inside the context fills with attention maps ``sum_c A_c^2``, scaled to norm 1.

    There is one map (B, H W) for each block that puts out maps A (B, C, H, W) of more than one pixel (Zagoruyko &
    Komodakis, ICLR 2017, arXiv:1612.03928, eq. 1 and 2). A network without ``blocks`` has none.
    """
    maps: list[Tensor] = []

    def note(_: nn.Module, __: tuple[Any, ...], output: Tensor) -> None:
        if output.ndim == 4 and output[0, 0].numel() > 1:
            maps.append(F.normalize(Energy.apply(output).flatten(1)))

    hooks = [module.register_forward_hook(note) for module in mapped(network)]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()


class GKT(Method):
    """Distil the original into a new network, on generated images that it does not take for a forgotten class.

    A step of the run is one pseudo-batch: a draw of noise z; then ``generator_steps`` of a generator that maximises
    the divergence D; then ``student_steps`` of the student, from random weights, that minimises
    ``D + attention_weight sum_l mean (Q_l(teacher) - Q_l(student))^2`` with Q from ``attention_maps``. D is
    ``KL(teacher || student) / C`` for C classes: the public codes of the authors and of JiT take its mean over samples
    and classes, and the published attention weights belong to that mean.

    The gate drops an image if the teacher's probability of a forgotten class is above ``threshold``; the curve
    ``gate_share`` is the fraction of each pseudo-batch that passes. A student that learned from nothing has forgotten
    nothing either, so a run of which no pseudo-batch passed ends with a ``UserError``. The teacher sees the images of
    the student's steps once. The method knows the numbers of the classes and sees no data.

    Args:
        model: as in ``Method``, like the other options. One of ``epochs`` is ``pseudo_batches``.
        z: size of the generator's input.
        pseudo_batches, generator_steps, student_steps: see above.
        generator_rate: learning rate of the generator's Adam.
        clip_norm: the largest norm of a gradient, of the generator and of the student; None for no limit.
        attention_weight, threshold: see above.
        batch_size: images of a pseudo-batch; BatchNorm cannot train on one alone.
    """

    feed = Feed(streams=(), labels=False)
    needs_forget_classes = knows_classes = replaces = True
    stronger = {}  # it trains a new model

    def __init__(
        self,
        model: nn.Module,
        z: Count = 128,
        pseudo_batches: Count = 4000,
        generator_steps: Count = 1,
        student_steps: Count = 10,
        generator_rate: Positive = 1e-3,
        clip_norm: Positive | None = 5.0,
        attention_weight: NonNegative = 250.0,
        threshold: Fraction = 0.01,
        batch_size: Several = 128,
        **options: Any,
    ) -> None:
        super().__init__(model, batch_size=batch_size, **options)
        self.feed = replace(self.feed, steps=pseudo_batches)
        self.z, self.generator_rate = z, generator_rate
        self.generator_steps, self.student_steps = generator_steps, student_steps
        self.attention_weight, self.threshold, self.clip_norm = attention_weight, threshold, clip_norm
        self.teacher = Teacher(model)
        self.automatic_optimization = False

    def check(self, task: Task) -> None:
        super().check(task)
        if len(task.input_shape) != 3:
            raise UserError(
                f"gkt generates images, but a sample has the shape {task.input_shape}: try amnesiac",
                key="method",
                kind="conflict",
            )
        if several():
            raise UserError(
                "gkt trains its generator in one process: set trainer.devices=1", key="trainer.devices", kind="conflict"
            )

    @property
    def steps_per_epoch(self) -> int:
        return self.data.steps(self.feed) * self.student_steps

    def setup(self, stage: str) -> None:
        if stage == "fit":  # a checkpoint, if the run goes on from one, brings both networks later
            self.model.load_state_dict(self.networks.fresh().state_dict())
            channels, height, width = self.task.input_shape
            generator = Generator(self.z, (channels, height, width))
            self.generator = generator.to(memory_format=torch.channels_last)

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
        """Mask (B,) of the images that the student may learn from."""
        return (teacher_logits.softmax(1)[:, self.forgotten] <= self.threshold).all(1)

    def generator_loss(self, images: Tensor) -> Tensor | None:
        """``-D`` on the images that pass the gate; None if fewer than two do."""
        teacher = self.teacher.network(images)  # its weights are frozen; the gradient flows on to the images
        passed = self.gate(teacher.detach())
        if passed.sum() < 2:
            return None
        return -distillation(self.model(images[passed]), teacher[passed], mean_over="elements")

    def student_loss(self, images: Tensor, teacher: Tensor, teacher_maps: list[Tensor]) -> Tensor:
        """The loss on images with the teacher's logits and attention maps."""
        with attention_maps(self.model) as maps:
            loss = distillation(self.model(images), teacher, mean_over="elements")
        pairs = zip(maps, teacher_maps, strict=True)
        return loss + self.attention_weight * sum((own - other).square().mean() for own, other in pairs)

    def combined(self, gradients: Gradients) -> Tensor:
        return self.clipped(super().combined(gradients))

    def clipped(self, gradient: Tensor) -> Tensor:
        """A gradient, shortened to ``clip_norm`` where it is longer."""
        if self.clip_norm is None:
            return gradient
        return gradient * (self.clip_norm / (gradient.norm() + 1e-6)).clamp(max=1)

    def training_step(self, step: int, index: int) -> None:  # type: ignore[override]
        noise = torch.randn(self.batch_size("train"), self.z, device=self.device)
        for _ in range(self.generator_steps):
            loss = self.generator_loss(self.generator(noise))
            if loss is not None:
                self.curves["generator_loss"].append(loss.detach())
                weights = list(self.generator.parameters())
                gradient = self.clipped(flatten(torch.autograd.grad(loss, weights)))
                for weight, part in zip(weights, parts(gradient, weights), strict=True):
                    weight.grad = part
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
        whole = len(self.curves["gate_share"]) >= self.data.steps(self.feed)  # a trial is cut short
        if whole and "train_loss" not in self.curves and not self.resumed:
            raise UserError(
                f"gkt learned nothing: in no batch did two images pass method.threshold={self.threshold:g}, so the "
                "model is random; a higher threshold, up to 1, or more method.pseudo_batches are the usual remedies",
                key="method.threshold",
            )
