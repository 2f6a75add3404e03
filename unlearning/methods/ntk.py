"""NTK forgetting (Golatkar et al., ECCV 2020, arXiv:2003.02960)."""

from math import ceil

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError
from ..gradients.samples import SampleBackward
from ..gradients.vectors import assign, flatten, trainable
from ..types import Batch, Task
from .base import OneShot


class NTK(OneShot):
    """Go where the weights would be, had the linearised model been trained without the forget set.

    Around the original weights w* the logits are ``f(x, w) = f(x, w*) + J(x) (w - w*)``. Training on n samples S with
    the squared error to the one-hot labels y and weight decay then ends, in closed form, at ``w(S) = -J^T Theta^-1 r``
    with ``Theta = J J^T + n weight_decay I`` (J J^T is the neural tangent kernel) and ``r = f(S, w = 0) - y``, f being
    linearised: ``r = f(S, w*) - y - J w*``. The step from w* is ``scale (w(D_r) - w(D))``, towards what was retained:
    for a linear model that was trained so it ends at the retrained weights, and wherever w* is a minimum of that loss,
    w(D) is w* and the step is the Gauss-Newton step to the minimum without the forget set.

    For others ``scale = 1 + 2 |<d, e>| / |d|^2``, ``d = w(D_r) - w(D)``, ``e = w* - w(D)``: d is the shorter of the two
    parallel sides of an isosceles trapezium, the longer goes from w* to the new weights, and each leg, e and its mirror
    image, leans outwards by ``|<d, e>| / |d|``. Whichever way e leans, it counts as outwards, so the step is never
    shortened: the farther the model is from linear, the larger the scale.

    Args:
        model: as in ``Method``; so are the options.
        weight_decay: of the linearised problem, per sample.
        scale: of the step; the trapezium's where it is None.
        retain_share: the random part of the retain set that stands for all of it.
        memory_gib: what the Jacobian, a number for every weight and logit of a sample, and its kernel may take.
    """

    streams = ("retain", "forget")

    def __init__(
        self,
        model: nn.Module,
        weight_decay: float = 0.1,
        scale: float | None = None,
        retain_share: float = 1.0,
        memory_gib: float = 4.0,
        **options: object,
    ) -> None:
        super().__init__(model, **options)
        if not (weight_decay > 0 and 0 < retain_share <= 1):
            raise UserError(
                f"method.weight_decay={weight_decay}, retain_share={retain_share}: weight_decay must be positive "
                "and retain_share lie in (0, 1]"
            )
        if scale is not None and not scale > 0:
            raise UserError(f"method.scale={scale} must be above 0, or null for the trapezium's")
        self.weight_decay, self.scale = weight_decay, scale
        self.retain_share, self.memory_gib = retain_share, memory_gib

    observes_with = ("retain_share",)

    def check(self, task: Task) -> None:
        super().check(task)
        samples = task.sizes["forget"] + max(1, round(self.retain_share * task.sizes["retain"]))
        columns = sum(p.numel() for p in trainable(self.model))
        rows = samples * task.num_classes
        numbers = rows * columns + 3 * min(rows, columns) ** 2  # the Jacobian; a kernel, a system and its root
        gib = numbers * trainable(self.model)[0].element_size() / 2**30
        if gib > self.memory_gib:
            raise UserError(
                f"ntk needs {gib:.1f} GiB for the derivatives of {samples} samples x {task.num_classes} logits by "
                f"{columns} weights, more than method.memory_gib={self.memory_gib:g}: take a smaller model "
                "(model=mlp), a part of the retain set (method.retain_share=0.1), or raise the limit"
            )

    def observe(self, stream: str, batch: Batch) -> None:
        """Count samples: the Jacobian, which is too large to keep, is had in ``edit``."""
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
        """J, (n, C, P), and r = f(w = 0) - y, (n, C), of all samples, and how many of them, the first, are retained."""
        samples, counts = int(self.observations["samples"]), dict.fromkeys(self.streams, 0)
        classes = self.model(next(iter(self.look("forget"))).images[:1]).shape[1]
        jacobian, residual = original.new_empty(samples, classes, len(original)), original.new_empty(samples, classes)
        for stream in self.streams:
            for batch in self.look(stream):
                start = sum(counts.values())
                counts[stream] += len(batch.labels)
                here = slice(start, start + len(batch.labels))
                logits = jacobian_of(self.model, batch.images, jacobian[here])[1]
                residual[here] = logits - F.one_hot(batch.labels, classes) - jacobian[here] @ original
        return jacobian, residual, counts["retain"]


def jacobian_of(model: nn.Module, images: Tensor, jacobian: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(B, C, P) derivatives of a batch's logits by the trainable weights, and the (B, C) logits.

    The derivatives are written into ``jacobian``, if it is given.
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
    """``gram`` of the ``first`` rows and of all; what they share is computed once."""
    part = jacobian[:first]
    if is_tall(part):
        found = gram(part)
        return found, found + lower_gram(jacobian[first:].T)
    whole = gram(jacobian)
    return gram(part) if is_tall(jacobian) else whole[:first, :first], whole


def gram(jacobian: Tensor) -> Tensor:
    """The products of the rows, or of the columns where there are fewer of these; see ``lower_gram``."""
    return lower_gram(jacobian.T if is_tall(jacobian) else jacobian)


def is_tall(matrix: Tensor) -> bool:
    """Whether it has more rows than columns."""
    return matrix.shape[0] > matrix.shape[1]


def ridge(jacobian: Tensor, residual: Tensor, gram: Tensor, penalty: float) -> Tensor:
    """(P,) the w with the least ``|jacobian w + residual|^2 + penalty |w|^2``, by the smaller of two equal systems."""
    tall = is_tall(jacobian)
    system = gram.clone()
    system.diagonal().add_(penalty)
    right = jacobian.T @ residual if tall else residual
    solution = torch.cholesky_solve(right[:, None], torch.linalg.cholesky(system))[:, 0]
    return -solution if tall else -(jacobian.T @ solution)


def lower_gram(rows: Tensor, blocks: int = 8) -> Tensor:
    """``rows @ rows.T`` up to the diagonal, and little above it: all that a Cholesky factorisation reads."""
    size, step = len(rows), ceil(len(rows) / blocks)
    gram = rows.new_zeros(size, size)
    for start in range(0, size, step):
        end = start + step
        gram[start:end, :end] = rows[start:end] @ rows[:end].T
    return gram


def trapezium(step: Tensor, error: Tensor) -> float:
    """The longer of the parallel sides over the shorter, ``step``; the legs are as long and as steep as ``error``."""
    return 1 + 2 * float((step @ error).abs() / (step @ step).clamp_min(torch.finfo(step.dtype).tiny))
