"""Learning-rate schedules, stepped after every optimiser step: ``schedule(optimizer, steps_per_epoch, epochs)``.

Epochs may differ in their steps, of which there are then ``steps_per_epoch`` on average.
"""

from collections.abc import Callable, Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from .types import NonNegative, Positive, Probability

Schedule = Callable[[Optimizer, float, int], LRScheduler]


def multistep(
    optimizer: Optimizer,
    steps_per_epoch: float,
    epochs: int,
    milestones: Sequence[float],
    gamma: Positive = 0.1,
    warmup_epochs: NonNegative = 0.0,
) -> LRScheduler:
    """Multiply the rate by ``gamma`` at each of ``milestones`` (epochs), after a linear warm-up."""

    def factor(step: int) -> float:
        epoch = step / steps_per_epoch
        warm = min(1.0, (step + 1) / (warmup_epochs * steps_per_epoch)) if warmup_epochs else 1.0
        passed = sum(epoch >= m for m in milestones)
        return float(warm * gamma**passed)

    return LambdaLR(optimizer, factor)


def one_cycle(
    optimizer: Optimizer, steps_per_epoch: float, epochs: int, max_lr: Positive, pct_start: Probability = 0.3
) -> LRScheduler:
    """One cycle of rising and falling rate (Smith, 2018) over the whole training; it rises for ``pct_start`` of it."""
    return OneCycleLR(optimizer, max_lr, total_steps=round(steps_per_epoch * epochs) + 1, pct_start=pct_start)


def linear(
    optimizer: Optimizer,
    steps_per_epoch: float,
    epochs: int,
    horizon: Positive = 1.25,
    warmup: Probability = 0.01,
) -> LRScheduler:
    """Linear decay that would reach zero after ``horizon`` times the steps, after a warm-up.

    The warm-up takes the fraction ``warmup`` of the steps.
    """
    total = steps_per_epoch * epochs

    def factor(step: int) -> float:
        warm = min(1.0, (step + 1) / (warmup * total)) if warmup else 1.0
        return warm * max(0.0, 1 - step / (horizon * total))

    return LambdaLR(optimizer, factor)
