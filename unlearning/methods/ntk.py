"""NTK forgetting (Golatkar et al., ECCV 2020, arXiv:2003.02960)."""

from dataclasses import replace
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError
from ..gradients.per_sample import SampleBackward
from ..gradients.vectors import assign, flatten, trainable
from ..types import Batch, Fraction, NonNegative, Positive, Task
from .one_shot import OneShot


class NTK(OneShot):
    """Move to where the weights would be, had the linearised model been trained without the forget set.

    Around the original weights w* the logits are ``f(x, w) = f(x, w*) + J(x) (w - w*)``. Training on n samples S with
    the squared error to the one-hot labels y and weight decay then ends, in closed form, at ``w(S) = -J^T Theta^-1 r``
    with ``Theta = J J^T + n weight_decay I`` (J J^T is the neural tangent kernel) and ``r = f(S, w = 0) - y`` for the
    linearised f: ``r = f(S, w*) - y - J w*``. The step from w* is ``scale (w(D_r) - w(D))``, where D_r is the retain
    set. For a linear model that was trained in this way it ends at the retrained weights. Wherever w* is a minimum of
    that loss, w(D) is w* and the step is the Gauss-Newton step to the minimum without the forget set.

    This departs from the authors' linearisation, whose residual is that of the trained network, ``r = f(S, w*) - y``:
    there weight decay pulls towards w* instead of zero, and a linear model would not end at the retrained weights.

    For other models ``scale = 1 + 2 |<d, e>| / |d|^2``, ``d = w(D_r) - w(D)``, ``e = w* - w(D)``: d is the shorter of
    the two parallel sides of an isosceles trapezium, the longer one goes from w* to the new weights, and each leg, e
    and its mirror image, leans outwards by ``|<d, e>| / |d|``. The inner product is taken in absolute value, so the
    step is never shortened: the farther the model is from linear, the larger the scale.

    Args:
        model: as in ``Method``, like the other options.
        weight_decay: of the linearised problem, per sample.
        scale: of the step; by default (None) that of the trapezium.
        retain_share: the random part of the retain set that represents all of it.
        memory_gib: the limit of memory for the Jacobian, with a number for every weight and logit of a sample, and for
            its kernel.
    """

    feed = replace(OneShot.feed, streams=("retain", "forget"))
    stronger = {"scale": "larger"}

    def __init__(
        self,
        model: nn.Module,
        weight_decay: Positive = 0.1,
        scale: Positive | None = None,
        retain_share: Fraction = 1.0,
        memory_gib: NonNegative = 4.0,
        **options: Any,
    ) -> None:
        super().__init__(model, **options)
        self.feed = replace(self.feed, retain_share=retain_share)
        self.weight_decay, self.scale, self.memory_gib = weight_decay, scale, memory_gib

    def check(self, task: Task) -> None:
        super().check(task)
        samples = task.sizes["forget"] + max(1, round(self.feed.retain_share * task.sizes["retain"]))
        columns = sum(p.numel() for p in trainable(self.model))
        rows = samples * task.num_classes
        numbers = rows * columns + 3 * min(rows, columns) ** 2  # the Jacobian; a kernel, a system and its root
        gib = numbers * trainable(self.model)[0].element_size() / 2**30
        if gib > self.memory_gib:
            raise UserError(
                f"ntk needs {gib:.1f} GiB for the derivatives of {samples} samples x {task.num_classes} logits by "
                f"{columns} weights, more than method.memory_gib={self.memory_gib:g}: use a smaller model "
                "(model=mlp), a part of the retain set (method.retain_share=0.1), or raise the limit",
                key="method.memory_gib",
            )

    def observe(self, stream: str, batch: Batch) -> None:
        """Only count samples; the Jacobian is too large to cache and is computed in ``edit``."""
        self.add("samples", torch.tensor(float(len(batch.ids)), device=self.device))

    def edit(self) -> None:
        weights = trainable(self.model)
        original = flatten(weights)
        jacobian, residual, retained = self.linearised(original)
        samples, classes = residual.shape
        rows, targets = jacobian.flatten(0, 1), residual.flatten()
        first = retained * classes
        part, whole = grams(rows, first)
        start = ridge(rows, targets, whole, samples * self.weight_decay)
        step = ridge(rows[:first], targets[:first], part, retained * self.weight_decay) - start
        scale = trapezium(step, original - start) if self.scale is None else self.scale
        assign(weights, original + scale * step)

    def linearised(self, original: Tensor) -> tuple[Tensor, Tensor, int]:
        """J (n, C, P) and r = f(w = 0) - y, (n, C), of all samples, and the number of those that are retained.

        The retained samples come first. ``original`` (P,) is w*.
        """
        samples, counts = int(self.observations["samples"]), dict.fromkeys(self.streams, 0)
        classes = self.model(next(iter(self.look("forget"))).images[:1]).shape[1]
        jacobian, residual = original.new_empty(samples, classes, len(original)), original.new_empty(samples, classes)
        for stream in self.streams:
            for batch in self.look(stream):
                start = sum(counts.values())
                counts[stream] += len(batch.images)
                here = slice(start, start + len(batch.images))
                logits = jacobian_of(self.model, batch.images, jacobian[here])[1]
                residual[here] = logits - F.one_hot(batch.targets, classes) - jacobian[here] @ original
        return jacobian, residual, counts["retain"]


def jacobian_of(model: nn.Module, images: Tensor, jacobian: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The derivatives (B, C, P) of a batch's logits by the trainable weights, and the logits (B, C).

    The derivatives are written into ``jacobian`` if it is given.
    """
    backward = SampleBackward(model, images)
    logits = backward.logits.detach()
    units = torch.eye(logits.shape[1], dtype=logits.dtype, device=logits.device)
    if jacobian is None:
        columns = sum(p.numel() for p in model.parameters() if p.requires_grad)
        jacobian = logits.new_empty(*logits.shape, columns, dtype=backward.dtype)
    for number, unit in enumerate(units):
        backward.rows_along(unit.expand_as(logits), jacobian[:, number])
    return jacobian, logits


def grams(jacobian: Tensor, first: int) -> tuple[Tensor, Tensor]:
    """``gram`` of the ``first`` rows and of all rows; their common part is computed once."""
    part = jacobian[:first]
    if is_tall(part):
        found = gram(part)
        return found, found + lower_gram(jacobian[first:].T)
    whole = gram(jacobian)
    return gram(part) if is_tall(jacobian) else whole[:first, :first], whole


def gram(jacobian: Tensor) -> Tensor:
    """The products of the rows, or of the columns if there are fewer columns; see ``lower_gram``."""
    return lower_gram(jacobian.T if is_tall(jacobian) else jacobian)


def is_tall(matrix: Tensor) -> bool:
    """Whether a matrix has more rows than columns."""
    return matrix.shape[0] > matrix.shape[1]


def ridge(jacobian: Tensor, residual: Tensor, gram: Tensor, penalty: float) -> Tensor:
    """The w (P,) with the least ``|jacobian w + residual|^2 + penalty |w|^2``.

    It is found by the smaller of two equivalent systems.

    Args:
        jacobian: (R, P).
        residual: (R,).
        gram: of the jacobian.
    """
    tall = is_tall(jacobian)
    system = gram.clone()
    system.diagonal().add_(penalty)
    right = jacobian.T @ residual if tall else residual
    solution = torch.cholesky_solve(right[:, None], torch.linalg.cholesky(system))[:, 0]
    return -solution if tall else -(jacobian.T @ solution)


def lower_gram(rows: Tensor, blocks: int = 8) -> Tensor:
    """``rows @ rows.T`` up to the diagonal, and a little above it: all that a Cholesky factorisation reads."""
    size, step = len(rows), ceil(len(rows) / blocks)
    gram = rows.new_zeros(size, size)
    for start in range(0, size, step):
        end = start + step
        gram[start:end, :end] = rows[start:end] @ rows[:end].T
    return gram


def trapezium(step: Tensor, error: Tensor) -> float:
    """The ratio of the longer parallel side to the shorter one, ``step``; ``error`` is a leg of the trapezium."""
    return 1 + 2 * float((step @ error).abs() / (step @ step).clamp_min(torch.finfo(step.dtype).tiny))
