"""Influence unlearning with the inverse of the empirical Fisher information (IU).

Koh and Liang, 2017, arXiv:1703.04730; Izzo et al., 2021, arXiv:2002.10077; the inverse as in WoodFisher: Singh and
Alistarh, 2020, arXiv:2004.14340.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError, require_at_least
from ..gradients.samples import SampleBackward, directional_derivatives
from ..gradients.vectors import assign, flatten, trainable
from ..types import Batch
from .base import OneShot
from .ntk import lower_gram

log = logging.getLogger(__name__)
DOUBLE_BLOCK = 2**24  # elements of stored gradients that are held in double precision at a time: 128 MiB


class WoodFisher(OneShot):
    """Take the step that, to first order, leaving the forget set out of the training would have made.

    Going from the mean loss over all N samples to that over the N_r retained ones moves the minimum by ``F^-1 v``,
    ``v = (1/N) sum_f g - (N_f / (N N_r)) sum_r g``, g being a sample's gradient of cross-entropy and F the curvature,
    for which the empirical Fisher information ``F = damping I + (1/n) sum g g^T`` of n random retain samples stands.
    The weights become ``w + alpha F^-1 v``.

    While the n gradients fit into ``memory_gib`` they are stored, as the rows of G, and Woodbury's identity gives
    ``F^-1 v = (v - G^T (n damping I + G G^T)^-1 G v) / damping``; else conjugate gradients find it from products
    ``F u``, which take a forward-mode and a backward pass of the n samples each.

    Args:
        model: as in ``Method``; so are the options, of which ``batch_size`` decides speed and memory alone.
        alpha: scale of the step; 1 is the theory's.
        damping: added to the curvature: directions in which it is smaller count as if it were this large.
        samples: n.
        memory_gib: what the stored gradients and their products may take.
        iterations: of conjugate gradients at most.
        tolerance: the residual, relative to v, at which they stop; curve ``residual``. It is a warning where they do
            not come so far.
    """

    streams = ("forget", "retain")

    def __init__(
        self,
        model: nn.Module,
        alpha: float = 1.0,
        damping: float = 1e-3,
        samples: int = 1000,
        memory_gib: float = 4.0,
        iterations: int = 100,
        tolerance: float = 1e-4,
        **options: object,
    ) -> None:
        super().__init__(model, **options)
        if min(damping, tolerance) <= 0 or min(samples, iterations) < 1:
            raise UserError(
                f"method.damping={damping}, tolerance={tolerance}, samples={samples}, iterations={iterations}: the "
                "first two must be positive, the others 1 or more"
            )
        require_at_least(0, memory_gib=memory_gib)
        self.alpha, self.damping, self.samples = alpha, damping, samples
        self.memory_gib, self.iterations, self.tolerance = memory_gib, iterations, tolerance

    def observe(self, stream: str, batch: Batch) -> None:
        loss = F.cross_entropy(self.model(batch.images), batch.labels, reduction="sum")
        self.add(stream, flatten(torch.autograd.grad(loss, trainable(self.model), materialize_grads=True)))
        self.add(f"{stream} samples", torch.tensor(float(len(batch.ids)), device=self.device))

    def edit(self) -> None:
        weights = trainable(self.model)
        forget, retain = (self.observations[f"{stream} samples"] for stream in self.streams)
        total = forget + retain
        change = self.observations["forget"] / total - self.observations["retain"] * (forget / (total * retain))
        batches, left = [], self.samples
        for batch in self.look("retain", shuffle=self.shuffler()):
            batches.append(Batch(*(part[:left] for part in batch)))
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
            if residuals and min(residuals) > self.tolerance:
                log.warning(
                    "wood_fisher: conjugate gradients ended after %d iterations with a residual of %.2g, above "
                    "method.tolerance=%g: the step is not yet that of the inverse; take more method.iterations or "
                    "more method.damping",
                    len(residuals),
                    min(residuals),
                    self.tolerance,
                )
        assign(weights, flatten(weights) + self.alpha * step)

    @staticmethod
    def bytes_of(samples: int, vector: Tensor) -> int:
        """Memory of as many stored gradients, once by batch and once together, and of a system of their products."""
        return 2 * samples * len(vector) * vector.element_size() + 8 * 3 * samples**2


def gradient_rows(model: nn.Module, batch: Batch) -> Tensor:
    """(B, P) each sample's gradient of cross-entropy."""
    backward = SampleBackward(model, batch.images)
    return backward.rows_along(backward.residuals(batch.labels))


def woodbury(rows: Tensor, vector: Tensor, damping: float) -> Tensor:
    """(P,) ``(damping I + rows^T rows / n)^-1 vector`` for (n, P) rows, by a system of n equations.

    In double precision, whatever that of the rows, and some columns at a time: the system's condition number is that of
    the curvature, and where damping is small ``vector - rows^T solution`` is a small difference of large numbers.
    """
    columns = max(1, DOUBLE_BLOCK // len(rows))
    blocks = list(zip(rows.split(columns, 1), vector.double().split(columns), strict=True))
    matrix = sum(lower_gram(block.double()) for block, _ in blocks)
    matrix.diagonal().add_(len(rows) * damping)
    right = sum(block.double() @ part for block, part in blocks)
    solution = torch.cholesky_solve(right[:, None], torch.linalg.cholesky(matrix))[:, 0]
    return torch.cat([(part - block.double().T @ solution) / damping for block, part in blocks]).to(vector)


def fisher_product(model: nn.Module, batch: Batch, vector: Tensor) -> Tensor:
    """(P,) ``sum_b g_b (g_b . vector)`` over the gradients of a batch's samples, none of which is formed."""
    along = directional_derivatives(model, batch, vector)
    with torch.enable_grad():
        losses = F.cross_entropy(model(batch.images), batch.labels, reduction="none")
    return flatten(torch.autograd.grad(losses, trainable(model), along, materialize_grads=True))


def conjugate_gradients(
    product: Callable[[Tensor], Tensor], vector: Tensor, iterations: int, tolerance: float
) -> tuple[Tensor, list[Tensor]]:
    """(P,) x with ``product(x) = vector``, for a positive definite product, and the relative residual by iteration.

    x is the iterate of the least residual, the start 0 included: rounding can make later ones worse.
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
