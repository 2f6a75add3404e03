"""Influence unlearning with the inverse of the empirical Fisher information (IU).

Koh and Liang, 2017, arXiv:1703.04730; Izzo et al., 2021, arXiv:2002.10077; the inverse as in WoodFisher: Singh and
Alistarh, 2020, arXiv:2004.14340.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..gradients.per_sample import SampleBackward
from ..gradients.products import directional_derivatives
from ..gradients.vectors import assign, flatten, trainable
from ..types import Batch, Count, NonNegative, Positive
from .ntk import lower_gram
from .one_shot import OneShot

DOUBLE_BLOCK = 2**24  # elements of stored gradients that are held in double precision at a time: 128 MiB


class WoodFisher(OneShot):
    """Take the step that, to first order, leaving the forget set out of the training would have made.

    Going from the mean loss over all N samples to that over the N_r retained ones moves the minimum by ``F^-1 v``,
    ``v = (1/N) sum_f g - (N_f / (N N_r)) sum_r g``, where g is a sample's gradient of cross-entropy. The curvature F is
    approximated by the empirical Fisher information ``F = damping I + (1/n) sum g g^T`` of n random retain samples. The
    weights become ``w + alpha F^-1 v``.

    While the n gradients fit into ``memory_gib`` they are stored as the rows of G, and Woodbury's identity gives
    ``F^-1 v = (v - G^T (n damping I + G G^T)^-1 G v) / damping``. Otherwise conjugate gradients find it from products
    ``F u``, each of which takes a forward-mode and a backward pass of the n samples.

    Args:
        model: as in ``Method``, like the other options; ``batch_size`` affects only speed and memory.
        alpha: scale of the step; the theory has 1.
        damping: added to the curvature: directions of a smaller curvature count as if theirs were this large.
        samples: n.
        memory_gib: the limit of memory for the stored gradients and their products.
        iterations: the largest number of conjugate-gradient iterations.
        tolerance: the residual, relative to v, at which they stop (curve ``residual``). A larger residual after the
            last iteration is told in a note on the run.
    """

    feed = replace(OneShot.feed, streams=("forget", "retain"))
    stronger = {"alpha": "larger"}

    def __init__(
        self,
        model: nn.Module,
        alpha: float = 1.0,
        damping: Positive = 1e-3,
        samples: Count = 1000,
        memory_gib: NonNegative = 4.0,
        iterations: Count = 100,
        tolerance: Positive = 1e-4,
        **options: Any,
    ) -> None:
        super().__init__(model, **options)
        self.alpha, self.damping, self.samples = alpha, damping, samples
        self.memory_gib, self.iterations, self.tolerance = memory_gib, iterations, tolerance

    def observe(self, stream: str, batch: Batch) -> None:
        loss = F.cross_entropy(self.model(batch.images), batch.targets, reduction="sum")
        self.add(stream, flatten(torch.autograd.grad(loss, trainable(self.model), materialize_grads=True)))
        self.add(f"{stream} samples", torch.tensor(float(len(batch.ids)), device=self.device))

    def edit(self) -> None:
        weights = trainable(self.model)
        forget, retain = (self.observations[f"{stream} samples"] for stream in self.streams)
        total = forget + retain
        change = self.observations["forget"] / total - self.observations["retain"] * (forget / (total * retain))
        batches, left = [], self.samples
        for batch in self.look("retain", shuffle=self.shuffler()):
            batches.append(batch.select(slice(left)))
            left -= len(batches[-1].ids)
            if left == 0:
                break
        n = self.samples - left
        if self.bytes_of(n, change) <= self.memory_gib * 2**30:
            step = woodbury(torch.cat([gradient_rows(self.model, b) for b in batches]), change, self.damping)
        else:
            step, residuals = conjugate_gradients(
                lambda u: self.damping * u + sum(fisher_product(self.model, b, u) for b in batches) / n,
                change,
                self.iterations,
                self.tolerance,
            )
            self.curves["residual"] += residuals
        assign(weights, flatten(weights) + self.alpha * step)

    @staticmethod
    def remarks(last: Mapping[str, float], options: Mapping[str, Any], sizes: Mapping[str, int]) -> Iterator[str]:
        residual, tolerance = last.get("residual", 0.0), options["tolerance"]
        if residual > tolerance:
            yield (
                f"wood_fisher: conjugate gradients ended with a residual of {residual:.2g}, above "
                f"method.tolerance={tolerance:g}: the step is not yet that of the inverse; use more method.iterations "
                "or a larger method.damping"
            )

    @staticmethod
    def bytes_of(samples: int, vector: Tensor) -> int:
        """Bytes for the stored gradients of that many samples and for a system of their products.

        The gradients are held twice for a moment: by batch and together. ``vector`` is one of them.
        """
        return 2 * samples * len(vector) * vector.element_size() + 8 * 3 * samples**2


def gradient_rows(model: nn.Module, batch: Batch) -> Tensor:
    """Each sample's gradient of cross-entropy, as one row of (B, P)."""
    backward = SampleBackward(model, batch.images)
    return backward.rows_along(backward.residuals(batch.targets))


def woodbury(rows: Tensor, vector: Tensor, damping: float) -> Tensor:
    """``(damping I + rows^T rows / n)^-1 vector``, (P,), for rows (n, P), by a system of n equations.

    It is computed in double precision, whatever the precision of the rows, and some columns at a time: the system's
    condition number is that of the curvature, and with little damping ``vector - rows^T solution`` is a small
    difference of large numbers.
    """
    columns = max(1, DOUBLE_BLOCK // len(rows))
    blocks = list(zip(rows.split(columns, 1), vector.double().split(columns), strict=True))
    matrix = functools.reduce(torch.add, (lower_gram(block.double()) for block, _ in blocks))
    matrix.diagonal().add_(len(rows) * damping)
    right = functools.reduce(torch.add, (block.double() @ part for block, part in blocks))
    solution = torch.cholesky_solve(right[:, None], torch.linalg.cholesky(matrix))[:, 0]
    return torch.cat([(part - block.double().T @ solution) / damping for block, part in blocks]).to(vector)


def fisher_product(model: nn.Module, batch: Batch, vector: Tensor) -> Tensor:
    """``sum_b g_b (g_b . vector)``, (P,), over the gradients of a batch's samples; no single gradient is formed."""
    along = directional_derivatives(model, batch, vector)
    with torch.enable_grad():
        losses = F.cross_entropy(model(batch.images), batch.targets, reduction="none")
    return flatten(torch.autograd.grad(losses, trainable(model), along, materialize_grads=True))


def conjugate_gradients(
    product: Callable[[Tensor], Tensor], vector: Tensor, iterations: int, tolerance: float
) -> tuple[Tensor, list[Tensor]]:
    """Solve ``product(x) = vector`` for a positive definite product: x (P,) and the relative residual by iteration.

    Returns the iterate with the smallest residual (possibly the zero start), since rounding can make later ones worse.
    """
    solution, residual = torch.zeros_like(vector), vector.clone()
    direction, square, whole = residual, residual @ residual, vector.norm()
    best, least = solution, square
    residuals: list[Tensor] = []
    while len(residuals) < iterations and square.sqrt() > tolerance * whole:
        image = product(direction)
        length = square / (direction @ image)
        solution, residual = solution + length * direction, residual - length * image
        before, square = square, residual @ residual
        direction = residual + (square / before) * direction
        residuals.append(square.sqrt() / whole)
        if square < least:
            best, least = solution, square
    return best, residuals
