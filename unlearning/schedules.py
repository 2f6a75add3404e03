"""Learning-rate schedules, stepped after every optimiser step: ``schedule(optimizer, steps_per_epoch, epochs)``."""

from collections.abc import Callable, Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from .errors import UserError

Schedule = Callable[[Optimizer, int, int], LRScheduler]


def multistep(
    optimizer: Optimizer,
    steps_per_epoch: int,
    epochs: int,
    milestones: Sequence[float],
    gamma: float = 0.1,
    warmup_epochs: float = 0.0,
) -> LRScheduler:
    """Multiply the rate by ``gamma`` at each of ``milestones`` (epochs), after a linear warm-up."""
    if not (gamma > 0 and warmup_epochs >= 0):
        raise UserError(
            f"schedule.gamma={gamma}, warmup_epochs={warmup_epochs}: gamma must be above 0 and warmup_epochs at least 0"
        )

    def factor(step: int) -> float:
        epoch = step / steps_per_epoch
        warm = min(1.0, (step + 1) / (warmup_epochs * steps_per_epoch)) if warmup_epochs else 1.0
        return warm * gamma ** sum(epoch >= m for m in milestones)

    return LambdaLR(optimizer, factor)


def one_cycle(
    optimizer: Optimizer, steps_per_epoch: int, epochs: int, max_lr: float, pct_start: float = 0.3
) -> LRScheduler:
    """One cycle of rising and falling rate (Smith, 2018) over the whole training."""
    return OneCycleLR(optimizer, max_lr, total_steps=steps_per_epoch * epochs + 1, pct_start=pct_start)


def linear(
    optimizer: Optimizer, steps_per_epoch: int, epochs: int, horizon: float = 1.25, warmup: float = 0.01
) -> LRScheduler:
    """Linear decay that would reach zero after ``horizon`` times the steps, after a warm-up of that share of them."""
    if not (horizon > 0 and 0 <= warmup <= 1):
        raise UserError(
            f"schedule.horizon={horizon}, warmup={warmup}: horizon must be above 0 and warmup a share in [0, 1]"
        )
    total = steps_per_epoch * epochs

    def factor(step: int) -> float:
        warm = min(1.0, (step + 1) / (warmup * total)) if warmup else 1.0
        return warm * max(0.0, 1 - step / (horizon * total))

    return LambdaLR(optimizer, factor)
