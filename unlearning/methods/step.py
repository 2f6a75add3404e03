"""How a first-order method takes a step, and how Lightning runs it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import lightning as L
import torch
from torch import Tensor, nn

from ..addons.base import Addon
from ..data.feed import Feed, Phase
from ..errors import UserError
from ..gradients.vectors import flatten, parts, trainable
from ..models.base import batch_norms
from ..runtime.cost import Meter
from ..schedules import Schedule
from ..types import Batch, Gradients, Looks, Networks, Task
from .teacher import Teacher

if TYPE_CHECKING:
    from ..data.datamodule import UnlearningData

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


class Stepper(L.LightningModule):
    """A network whose weights follow the weighted sum of the losses of its streams, as its add-ons edit it.

    A subclass has a method ``<stream>_loss`` for each stream that its phases draw from; see ``base.Method``.
    """

    feed: Feed
    data: UnlearningData  # hands out the batches; set by whoever fits the method
    label_smoothing = 0.0  # of every cross-entropy; the add-on of that name sets it

    def __init__(
        self,
        model: nn.Module,
        optimizer: MakeOptimizer | None,
        schedule: Schedule | None,
        epochs: int,
        weights: dict[str, float],
        batch_norm: Literal["train", "eval"],
        addons: Sequence[Addon],
    ) -> None:
        super().__init__()
        self.model, self.epochs, self.weights, self.batch_norm = model, epochs, weights, batch_norm
        self.addons = sorted(addons, key=lambda addon: (addon.holds, not addon.moves))  # otherwise in the order given
        self.make_optimizer, self.schedule = optimizer, schedule
        self.automatic_optimization = not any(addon.splits_gradients for addon in self.addons)
        self.meter = Meter()
        self.curves: dict[str, list[Tensor]] = defaultdict(list)

    # The course of a run

    def phases(self) -> Sequence[Phase]:
        """The phases of the run, in turn."""
        return [Phase("train", self.feed, self.epochs)]

    @property
    def passes(self) -> int:
        """Lightning epochs of a whole run: one pass over the streams of a phase each."""
        return sum(phase.passes for phase in self.phases())

    @property
    def phase(self) -> Phase:
        """The phase of the current epoch."""
        return self.place()[0]

    def place(self) -> tuple[Phase, int]:
        """The phase of the current epoch, and the number of that epoch within it."""
        phases, epoch = self.phases(), self.current_epoch
        for phase in phases:
            if epoch < phase.passes:
                return phase, epoch
            epoch -= phase.passes
        return (phases[-1] if phases else Phase("nothing", self.feed, 0)), epoch

    def steps_in(self, feed: Feed) -> int:
        """Steps of an epoch over a feed."""
        if feed.steps is not None:
            return feed.steps
        batches = [self.data.plan(stream, feed).steps for stream in feed.streams]
        return min(batches) if feed.pairing == "min_size" else max(batches)

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of one of ``epochs``: what a schedule is made for."""
        return self.steps_in(next(phase.feed for phase in self.phases() if phase.scheduled))

    @property
    def resumed(self) -> bool:
        """Whether the run goes on from a checkpoint, whose weights are in place by ``on_fit_start``.

        This is for those who fit a method with a Lightning trainer of their own; ``run.py`` repeats a run that was
        interrupted. A checkpoint holds all state of the method and its add-ons that steps depend on: what comes before
        the first step is not done again, and for the same batches and random draws the steps are the same as without
        the interruption. The order of samples and the state of the global random generators are not in it: both are
        drawn anew. Nor are costs and curves: they begin with the first step after it.
        """
        return self.trainer.ckpt_path is not None

    # What it and its add-ons can use

    @property
    def streams(self) -> Sequence[str]:
        """The streams that any of its steps draws from."""
        return self.feed.streams

    @property
    def always_draws(self) -> Sequence[str]:
        """The streams that every step draws from: fewer than ``streams`` has, where phases differ."""
        return self.streams

    @property
    def smooths(self) -> bool:
        """Whether one of its losses has labels that can be smoothed."""
        return self.feed.labels

    @property
    def task(self) -> Task:
        """The facts of the task that any method may know."""
        return self.data.task

    @property
    def networks(self) -> Networks:
        """Makers of networks of the original's architecture."""
        if self.data.networks is None:
            raise UserError(
                f"{type(self).__name__} needs networks of the original's architecture, and none can be made"
            )
        return self.data.networks

    @property
    def processes(self) -> int:
        """Processes that share each batch."""
        return self.data.processes

    def batch_size(self, stream: str) -> int:
        """The samples of a stream in a batch of the current phase, over all processes."""
        return self.phase.feed.batch_sizes[stream]

    def look(
        self,
        stream: str,
        asker: Looks | None = None,
        shuffle: torch.Generator | None = None,
        augment: bool = False,
        batch_size: int | None = None,
    ) -> Iterator[Batch]:
        """One pass over a stream outside the steps, for the method or for an add-on that asks.

        It is un-augmented and in order unless asked for otherwise. Raises ``ValueError`` for a stream that was not
        declared.
        """
        return self.data.batches_for(self, stream, asker, shuffle, augment, batch_size)

    def free(self) -> dict[nn.Parameter, Tensor]:
        """Where each trainable parameter may change, bool in its shape; from ``on_train_start`` on.

        Add-ons that choose anew in every step hold nothing before the first one.
        """
        weights = trainable(self.model)
        masks = {weight: torch.ones_like(weight, dtype=torch.bool) for weight in weights}
        for frozen in (addon.frozen for addon in self.addons):
            if frozen is not None:
                for weight, own in zip(weights, parts(frozen, weights), strict=True):
                    masks[weight] &= ~own
        return masks

    def shuffler(self) -> torch.Generator:
        """A generator for the order of a look: the same in every process and at every look of a run."""
        return torch.Generator().manual_seed(torch.initial_seed() % 2**63)

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
            optimizer = self.make_optimizer(trainable(self.model))
        except ValueError as error:
            raise UserError(f"method.optimizer: {error}", key="method.optimizer") from None
        optimizer.register_step_post_hook(self.after_step)
        if self.schedule is None:
            return optimizer
        scheduler = self.schedule(optimizer, self.steps_per_epoch, self.epochs)
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

    def on_train_epoch_start(self) -> None:
        self.model.train()
        if self.batch_norm == "eval":
            for module in batch_norms(self.model):
                module.eval()
        phase, epoch = self.place()
        if epoch == 0 and phase.begin is not None:
            phase.begin()

    def on_train_batch_start(self, batch: Any, index: int) -> int | None:
        feed = self.phase.feed
        ended = feed.streams and index == feed.steps
        return -1 if ended else None  # -1: Lightning goes on to the next epoch

    def on_train_epoch_end(self) -> None:
        lost = [name for name, values in self.curves.items() if not torch.stack(values[-1:]).isfinite().all()]
        if lost:
            raise UserError(
                f"{type(self).__name__}: {lost[0]} is not finite after epoch {self.current_epoch + 1}: "
                "the run diverged; a smaller learning rate (optimizer.lr) or forget weight is the usual remedy",
                key="method.optimizer.lr",
                kind="diverged",
            )

    def on_train_end(self) -> None:
        self.model.eval()
        if self.trainer.world_size > 1:
            self.meter.add_from_processes(partial(self.trainer.strategy.reduce, reduce_op="sum"), self.device)
