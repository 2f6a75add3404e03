"""Search near a sample for one that a classifier takes for another class, along the perturbed sign of the gradient."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..types import Count, NonNegative, Positive

Kind = Literal["normal", "cauchy", "laplace", "uniform"]
Logits = Callable[[Tensor], Tensor]  # pixels (B, ...) to logits (B, num_classes)
Draw = Callable[[Kind, Tensor], Tensor]  # independent draws of a distribution, in the shape of a tensor; see ``drawn``


class Box(NamedTuple):
    """The range of a network's inputs, and its coordinates from 0 to 1, which are the pixels of an image.

    Both bounds are (C, 1, 1) for images and (F,) for features.
    """

    low: Tensor
    high: Tensor

    @property
    def width(self) -> Tensor:
        return self.high - self.low

    def pixels(self, inputs: Tensor) -> Tensor:
        """Inputs (B, ...) in pixel space; what has no range is at 0."""
        return (inputs - self.low) / self.width.where(self.width > 0, 1)

    def inputs(self, pixels: Tensor) -> Tensor:
        """Pixels (B, ...) as the network sees them."""
        return self.low + pixels * self.width

    def to(self, like: Tensor) -> Box:
        """The same on the device and in the precision of a tensor."""
        return Box(self.low.to(like), self.high.to(like))


class Boundary(NamedTuple):
    """The points at which a search crossed the decision boundary."""

    points: Tensor  # (B, ...) pixels; of a sample that was not crossed, where its search ended
    crossed: Tensor  # (B,) bool: the class has changed
    largest: Tensor  # (B,) the largest change of a pixel
    euclidean: Tensor  # (B,) the Euclidean distance in pixel space


@dataclass(frozen=True)
class SignAttack:
    """Signed steps in pixel space that raise the cross-entropy, drawn back to the sample and disturbed by noise.

    From ``u_0 = u``, pixels in [0, 1] of class y, step t of ``steps`` is::

        s_t = sign(g_t - lam_t (u_{t-1} - u) + gamma z_t),   g_t = grad CE(f(u_{t-1}), y)
        u_t = clip(u + clip(u_{t-1} + step_size s_t - u, -radius, radius), 0, 1)

    With one step of the size of the radius it is FGSM (Goodfellow et al., 2015, arXiv:1412.6572), with several PGD
    (Madry et al., 2018, arXiv:1706.06083); the noise and the pull are those of Langevin dynamics (arXiv:2505.21872).
    The gradient is each sample's own, not that of a mean over the batch, which is smaller by the size of the batch:
    so nothing depends on the other samples. In a first step from u the pull is zero.

    Args:
        radius: the farthest that any pixel may move.
        steps: see above.
        step_size: of a step; None for the radius.
        random_start: start from a uniform draw within the radius instead of u.
        gamma: the size of the noise z, in the unit of a sample's own gradient: 64 times the paper's, which is of the
            gradient of a mean over a batch of 64.
        relative: whether ``gamma`` counts in mean absolute values of the sample's gradient instead.
        noise: the distribution of z, independent for each pixel: standard ``normal``, ``cauchy`` or ``laplace``, or
            ``uniform`` in [-1, 1].
        lam: the strength of the pull towards u, in the unit of a sample's own gradient: 64 times the paper's.
        lam_schedule: ``lam_t``: ``none``, lam; ``inverse``, lam / t; ``exponential``, lam e^(-t / 100); ``linear``,
            lam (1 - t / steps), which is 0 in the last step. The paper may be read otherwise: here t is the step of
            this search, not of the training.
    """

    radius: Positive = 0.1
    steps: Count = 1
    step_size: Positive | None = None
    random_start: bool = False
    gamma: NonNegative = 0.0
    relative: bool = False
    noise: Kind = "normal"
    lam: NonNegative = 0.0
    lam_schedule: Literal["none", "inverse", "exponential", "linear"] = "none"

    @property
    def deterministic(self) -> bool:
        """Whether the same sample is always moved to the same point."""
        return self.gamma == 0 and not self.random_start

    def pull(self, step: int) -> float:
        """``lam_t`` at step t, from 1."""
        factors = {
            "none": 1.0,
            "inverse": 1 / step,
            "exponential": math.exp(-0.01 * step),
            "linear": 1 - step / self.steps,
        }
        return self.lam * factors[self.lam_schedule]

    @property
    def pulled(self) -> bool:
        """Whether a step is drawn back to the sample at all; the first one is not, where it starts from there."""
        first = 1 if self.random_start else 2
        return any(self.pull(step) for step in range(first, self.steps + 1))

    def disturbed(self, gradient: Tensor, draw: Draw) -> Tensor:
        """The gradient (B, ...) with the noise."""
        if self.gamma == 0:
            return gradient
        scale = gradient.flatten(1).abs().mean(1).view(-1, *[1] * (gradient.ndim - 1)) if self.relative else 1.0
        return gradient + self.gamma * scale * draw(self.noise, gradient)

    def path(self, logits: Logits, pixels: Tensor, labels: Tensor, draw: Draw | None = None) -> Iterator[Tensor]:
        """The points u_1, u_2, ... of pixels (B, ...) of the classes ``labels`` (B,)."""
        draw = draw or drawn
        size = self.radius if self.step_size is None else self.step_size
        moved = pixels
        if self.random_start:
            moved = (pixels + self.radius * draw("uniform", pixels)).clamp(0, 1)
        for step in range(1, self.steps + 1):
            direction = self.disturbed(slope(logits, moved, labels), draw) - self.pull(step) * (moved - pixels)
            change = (moved + size * direction.sign() - pixels).clamp(-self.radius, self.radius)
            moved = (pixels + change).clamp(0, 1)
            yield moved

    def moved(self, logits: Logits, pixels: Tensor, labels: Tensor, draw: Draw | None = None) -> Tensor:
        """The last point of ``path``."""
        for point in self.path(logits, pixels, labels, draw):
            last = point
        return last

    @torch.no_grad()
    def boundary(self, logits: Logits, pixels: Tensor, labels: Tensor, halvings: int = 12) -> Boundary:
        """The point at which each sample's search leaves its class, on the straight line from the sample.

        A sample stays at the first point of its path that has another class; halving the line from it to the sample
        then finds where the class changes, to 2^-halvings of its length. A sample that is misclassified as it is has a
        distance of 0.
        """
        far, crossed = pixels.clone(), logits(pixels).argmax(1) != labels
        for point in self.path(logits, pixels, labels):
            if crossed.all():
                break
            far[~crossed] = point[~crossed]
            crossed |= logits(far).argmax(1) != labels
        near, ends = pixels, far
        for _ in range(halvings):
            middle = (near + ends) / 2
            other = (logits(middle).argmax(1) != labels).view(-1, *[1] * (pixels.ndim - 1))
            near, ends = torch.where(other, near, middle), torch.where(other, middle, ends)
        points = torch.where(crossed.view(-1, *[1] * (pixels.ndim - 1)), ends, far)
        change = (points - pixels).flatten(1)
        return Boundary(points, crossed, change.abs().amax(1), change.norm(dim=1))


def slope(logits: Logits, pixels: Tensor, labels: Tensor) -> Tensor:
    """The gradient of each sample's cross-entropy with respect to its pixels, (B, ...)."""
    with torch.enable_grad():
        inputs = pixels.detach().requires_grad_()
        loss = F.cross_entropy(logits(inputs), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, inputs)
    return gradient


def drawn(kind: Kind, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Independent draws in the shape of a tensor; ``SignAttack`` names the distributions."""

    def empty() -> Tensor:
        return torch.empty_like(like)

    if kind == "normal":
        return empty().normal_(generator=generator)
    if kind == "cauchy":
        return empty().cauchy_(generator=generator)
    if kind == "laplace":  # the difference of two exponential variables
        return empty().exponential_(generator=generator) - empty().exponential_(generator=generator)
    return empty().uniform_(-1, 1, generator=generator)
