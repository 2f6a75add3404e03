"""How a first-order method takes a step, and how Lightning runs it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor, nn

from ..addons.base import Addon
from ..errors import UserError
from ..gradients.vectors import flatten, parts, trainable
from ..models.base import batch_norms
from ..schedules import Schedule
from ..types import Batch, Gradients
from .course import Course
from .teacher import Teacher

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
BatchNormPolicy = Literal["train", "eval", "frozen"]


class Stepper(Course):
    """A network whose weights follow the weighted sum of the losses of its streams, as its add-ons edit it.

    A subclass has a method ``<stream>_loss`` for each stream that its phases draw from; see ``base.Method``.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: MakeOptimizer | None,
        schedule: Schedule | None,
        epochs: int,
        weights: dict[str, float],
        batch_norm: BatchNormPolicy,
        addons: Sequence[Addon],
        keep: float | None,
    ) -> None:
        super().__init__(model, epochs, addons, keep)
        self.weights, self.batch_norm = weights, batch_norm
        self.make_optimizer, self.schedule = optimizer, schedule
        self.automatic_optimization = not any(addon.splits_gradients for addon in self.addons)
        for layer in self.fixed:
            layer.requires_grad_(False)

    @property
    def fixed(self) -> list[nn.Module]:
        """The BatchNorm layers whose weights stay as they are."""
        return batch_norms(self.model) if self.batch_norm == "frozen" else []

    @property
    def optimised(self) -> list[nn.Parameter]:
        """What the optimiser changes: the weights of the model, and a method's own if it has some."""
        return trainable(self.model)

    # How a step is taken

    def training_step(self, batch: dict[str, Batch], _: int) -> Tensor | None:
        def losses() -> dict[str, Tensor]:
            return {name: getattr(self, f"{name}_loss")(part) for name, part in batch.items() if part is not None}

        if self.automatic_optimization:
            found = losses()
            self.record(found)
            weighted: Any = sum(self.weights[name] * loss for name, loss in found.items())
            return weighted + self.penalty()
        self.step_on(losses)
        return None

    def record(self, losses: dict[str, Tensor]) -> None:
        """Append each stream's loss to its curve."""
        for name, loss in losses.items():
            self.curves[f"{name}_loss"].append(loss.detach())

    def penalty(self) -> Tensor | float:
        """The add-ons' terms of the loss."""
        penalties: list[Any] = [addon.penalty(self) for addon in self.addons]
        return sum(penalties)

    def step_on(self, losses: Callable[[], dict[str, Tensor]]) -> None:
        """One optimiser step on the weighted sum of the losses' gradients, as the add-ons edit it.

        ``losses`` gives a loss for each stream; an add-on may have it computed again at other weights.
        """
        found: list[dict[str, Tensor]] = []

        def evaluate() -> Gradients:
            found.append(losses())
            return self.split_gradients(found[-1])

        for addon in self.addons:
            evaluate = partial(addon.gradients, self, evaluate)
        gradients = evaluate()
        self.record(found[0])  # those at the weights that the step starts from
        combined = self.combined(gradients)
        for addon in sorted(self.addons, key=lambda addon: not addon.holds):  # the others choose among what is free
            combined = addon.combine(self, combined, gradients)
        parameters = trainable(self.model)
        if isinstance(penalty := self.penalty(), Tensor):
            combined = combined + flatten(torch.autograd.grad(penalty, parameters))
        for parameter, gradient in zip(parameters, parts(combined, parameters), strict=True):
            parameter.grad = gradient
        optimizer: Any = self.optimizers()
        optimizer.step()
        optimizer.zero_grad()
        if (scheduler := self.lr_schedulers()) is not None:
            self.lr_scheduler_step(scheduler, None)

    def split_gradients(self, losses: dict[str, Tensor]) -> Gradients:
        """One gradient for each stream, a vector, averaged over processes: what gradient add-ons choose from."""
        parameters = trainable(self.model)
        rows = [flatten(torch.autograd.grad(loss, parameters, materialize_grads=True)) for loss in losses.values()]
        if self.trainer.world_size > 1:
            rows = list(self.averaged(torch.stack(rows)).unbind())
        return dict(zip(losses, rows, strict=True))

    def averaged(self, gradients: Tensor) -> Tensor:
        """Gradients of the batch that the processes share, from those of the part that each of them has."""
        return self.trainer.strategy.reduce(gradients, reduce_op="mean")

    def combined(self, gradients: Gradients) -> Tensor:
        """The weighted sum of gradients by stream."""
        return sum(self.weights[name] * gradient for name, gradient in gradients.items())  # type: ignore[return-value]

    @torch.no_grad()
    def after_step(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        """Let the add-ons change the weights after an optimiser step."""
        for addon in self.addons:
            addon.after_step(self, optimizer)

    # How Lightning runs it

    def configure_callbacks(self) -> list[L.Callback]:
        return [self.meter, *self.addons]

    def configure_optimizers(self) -> Any:
        if self.make_optimizer is None:
            raise UserError(f"{type(self).__name__} needs an optimizer", key="method.optimizer", kind="missing")
        try:
            optimizer = self.make_optimizer(self.optimised)
        except ValueError as error:
            raise UserError(f"method.optimizer: {error}", key="method.optimizer") from None
        optimizer.register_step_post_hook(self.after_step)
        if self.schedule is None:
            return optimizer
        steps, together = self.steps_per_epoch, self.trainer.accumulate_grad_batches
        if together > 1:  # batches whose gradients make a step; the last step of a pass may have fewer
            steps = math.ceil(steps / together)
        scheduler = self.schedule(optimizer, steps, self.epochs)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        if self.phase.scheduled:
            super().lr_scheduler_step(scheduler, metric)

    def count_passes(self) -> None:
        """Have the meter count what passes through the model and the teachers."""
        for network in (self.model, *(m.network for m in self.modules() if isinstance(m, Teacher))):
            self.meter.watch(network)

    def on_fit_start(self) -> None:
        self.count_passes()
        self.begin_guard()

    def on_train_epoch_start(self) -> None:
        self.model.train()
        if self.batch_norm != "train":
            for module in batch_norms(self.model):
                module.eval()
        phase, epoch = self.place()
        if epoch == 0 and phase.begin is not None:
            phase.begin()

    def on_train_batch_start(self, batch: Any, index: int) -> int | None:
        feed = self.phase.feed
        ended = feed.streams and feed.steps is not None and index == self.data.steps(feed)
        return -1 if ended else None  # -1: Lightning goes on to the next epoch

    def on_train_batch_end(self, *_: object) -> None:
        mends = not {*self.streams}.isdisjoint(("retain", "train"))  # a method may break what it mends later
        if self.guard is None or mends or not self.streams:
            return
        self.curves["kept"].append(torch.tensor(kept := self.guard.kept()))
        if kept < self.guard.keep:
            self.trainer.should_stop = True

    def on_train_epoch_end(self) -> None:
        if self.trainer.should_stop:
            return
        lost = [name for name, values in self.curves.items() if not torch.stack(values[-1:]).isfinite().all()]
        if lost:
            raise UserError(
                f"{type(self).__name__}: {lost[0]} is not finite after epoch {self.current_epoch + 1}: "
                "the run diverged; a smaller learning rate (optimizer.lr) or forget weight is the usual remedy",
                key="method.optimizer.lr",
                kind="diverged",
            )

    def on_train_end(self) -> None:
        self.end_guard()
        self.model.eval()
        for layer in self.fixed:
            layer.requires_grad_(True)
        if self.trainer.world_size > 1:
            self.meter.add_from_processes(partial(self.trainer.strategy.reduce, reduce_op="sum"), self.device)
