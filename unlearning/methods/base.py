"""What every unlearning method is: a trained classifier that ``Trainer.fit`` changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Literal

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..addons.base import Addon, Gradients, Holder, trainable
from ..cost import Meter
from ..errors import UserError, require_at_least
from ..importance import flatten, parts
from ..schedules import Schedule
from ..types import Batch, Task
from .teacher import Teacher

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


class Method(L.LightningModule):
    """A first-order method: descend ``forget_weight * forget_loss + retain_weight * retain_loss``.

    A subclass writes one or both losses. Its class attributes declare what data it is handed, and it gets no other:
    ``streams`` names the training sets that a step draws from (``forget``, ``retain``, ``train``; a property may let
    them depend on ``current_epoch``), ``sees_labels = False`` withholds the labels.

    Args:
        model: the trained classifier to change, (B, C, H, W) to logits (B, num_classes).
        optimizer: makes the optimiser from the parameters.
        schedule: makes the learning-rate schedule; see ``unlearning.schedules``.
        epochs: passes over the longest stream, where the others begin anew; or, with ``epoch_of="shortest"``, over the
            shortest, at whose end the others stop.
        batch_size: of every stream, over all processes, unless ``forget_batch_size`` gives that of the forget stream.
        forget_weight, retain_weight: factors of the two losses.
        batch_norm: whether BatchNorm layers normalise by batch and move their running statistics (``train``), or use
            the running statistics as they are (``eval``).
        addons: change how each step is taken; see ``addons.base.Addon``.
    """

    streams: Sequence[str] = ("forget", "retain")
    looks: Sequence[str] = ()  # streams it looks at outside its steps; also ``validation``, which no step may draw from
    pairing = "max_size_cycle"  # how streams are drawn together; "max_size": each sample once, then None
    sees_labels = True
    retain_share = 1.0  # the part of the retain set that the method is handed
    left_out: Tensor | None = None  # ids of samples that its steps are not to draw, if it finds such before they begin
    augment = True  # whether training images are augmented, where the data set has an augmentation
    order: Literal["shuffled", "by_class"] = "shuffled"  # of the samples in a stream
    label_smoothing = 0.0  # of every cross-entropy; the add-on of that name sets it
    needs_forget_classes = False  # True: only for requests to forget whole classes (see ``task.forget_classes``)
    free_steps = (
        0  # training steps of an epoch in which the method draws from no stream; their batch is the step number
    )
    wanted_steps: int | None = None  # of the current pass: streams that have fewer batches begin anew

    def __init__(
        self,
        model: nn.Module,
        optimizer: MakeOptimizer | None = None,
        schedule: Schedule | None = None,
        epochs: int = 1,
        epoch_of: Literal["longest", "shortest"] = "longest",
        batch_size: int = 64,
        forget_batch_size: int | None = None,
        forget_weight: float = 1.0,
        retain_weight: float = 1.0,
        batch_norm: Literal["train", "eval"] = "train",
        addons: Sequence[Addon] = (),
    ) -> None:
        super().__init__()
        self.model, self.epochs = model, epochs
        self.addons = sorted(addons, key=lambda addon: (addon.holds, not addon.moves))  # otherwise in the order given
        self.make_optimizer, self.schedule = optimizer, schedule
        if epoch_of == "shortest":
            self.pairing = "min_size"
        if min(epochs, batch_size, 1 if forget_batch_size is None else forget_batch_size) < 1:
            raise UserError(
                f"epochs={epochs}, batch_size={batch_size}, forget_batch_size={forget_batch_size}: "
                "each must be 1 or more"
            )
        require_at_least(0, forget_weight=forget_weight, retain_weight=retain_weight)
        self.batch_sizes = {"forget": forget_batch_size or batch_size, "retain": batch_size, "train": batch_size}
        self.weights = {"forget": forget_weight, "retain": retain_weight, "train": 1.0}
        self.batch_norm = batch_norm
        self.drawn: set[str] = set()  # the streams of all epochs so far
        self.automatic_optimization = not any(addon.splits_gradients for addon in self.addons)
        self.meter = Meter()
        self.curves: dict[str, list[Tensor]] = defaultdict(list)

    # What a method writes

    def forget_loss(self, batch: Batch) -> Tensor:
        """Scalar loss of a forget batch."""
        raise AttributeError(f"{type(self).__name__} draws from forget and must define forget_loss")

    def retain_loss(self, batch: Batch) -> Tensor:
        """Scalar loss of a retain batch; cross-entropy unless a method says otherwise."""
        return self.cross_entropy(self.model(batch.images), batch.labels)

    def train_loss(self, batch: Batch) -> Tensor:
        """Scalar loss of a batch of forget and retain samples together; ``batch.forget`` tells which is which."""
        return self.cross_entropy(self.model(batch.images), batch.labels)

    # What it can use

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean over the batch, of logits (B, num_classes), with the labels smoothed where an add-on asks for it."""
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)

    @property
    def lacks_labels(self) -> str:
        """Why no loss has a label, and so none that could be smoothed; empty where one has."""
        return "" if self.sees_labels else "sees no labels"

    @property
    def task(self) -> Task:
        """The facts of the task that any method may know."""
        return self.trainer.datamodule.task

    @property
    def access(self) -> dict[str, str]:
        """What the method and its add-ons may see of each stream, once it has run: inputs, or inputs and labels."""
        seen = set(self.sights())
        return {stream: "inputs and labels" if (stream, True) in seen else "inputs" for stream, _ in sorted(seen)}

    def sights(self) -> Iterator[tuple[str, bool]]:
        """(stream, with labels) of each look and step of the method and its add-ons."""
        yield from ((stream, self.sees_labels) for stream in (*self.drawn, *self.streams, *self.looks))
        yield from ((stream, addon.sees_labels) for addon in self.addons for stream in addon.looks)

    @property
    def always_draws(self) -> Sequence[str]:
        """The streams that every step draws from: fewer than ``streams`` have, over all epochs, where they change."""
        return self.streams

    @property
    def needs_full_batches(self) -> bool:
        """BatchNorm in training mode cannot take a batch of one sample."""
        return self.batch_norm == "train" and any(
            isinstance(module, nn.modules.batchnorm._BatchNorm) for module in self.model.modules()
        )

    @property
    def passes(self) -> int:
        """Lightning epochs of a whole run: one pass over the current streams each."""
        return self.epochs

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of one of ``epochs``."""
        return self.steps_over(self.streams)

    def steps_over(self, streams: Sequence[str]) -> int:
        """Batches of the longest of some streams; of the shortest, if that is what an epoch is."""
        batches = [self.trainer.datamodule.steps(stream, self) for stream in streams]
        return min(batches) if self.pairing == "min_size" else max(batches)

    @property
    def resumed(self) -> bool:
        """Whether the run goes on from a checkpoint, whose weights are in place by ``on_fit_start``.

        This is for those who fit a method with a Lightning trainer of their own; ``run.py`` repeats a run that was cut
        off. A checkpoint holds all state of the method and its add-ons that steps depend on: what comes before the
        first step is not done again, and for the same batches and random draws the steps are the same as without the
        stop. The order of samples and the state of the global random generators are not in it: both are drawn anew. Nor
        are costs and curves: they begin with the first step after it.
        """
        return self.trainer.ckpt_path is not None

    def free(self) -> dict[nn.Parameter, Tensor]:
        """Where each trainable parameter may change, bool in its shape; from ``on_train_start`` on.

        Add-ons that choose anew in every step hold nothing before the first one.
        """
        weights = trainable(self.model)
        masks = {weight: torch.ones_like(weight, dtype=torch.bool) for weight in weights}
        for held in (addon.frozen for addon in self.addons if isinstance(addon, Holder)):
            if held is not None:
                for weight, frozen in zip(weights, parts(held, weights), strict=True):
                    masks[weight] &= ~frozen
        return masks

    def shuffler(self) -> torch.Generator:
        """A generator for the order of a look: the same in every process and at every look of a run."""
        return torch.Generator().manual_seed(torch.initial_seed() % 2**63)

    def check(self, task: Task) -> None:
        """Raise ``UserError`` for a task that the method cannot serve; called before any model is trained."""
        if self.needs_forget_classes and not task.forget_classes:
            raise UserError(f"{type(self).__name__} forgets whole classes only: use scenario=class without a count")
        for stream in ("forget", "retain"):
            written = getattr(type(self), f"{stream}_loss") is not getattr(Method, f"{stream}_loss")
            if self.weights[stream] != 1 and not written and stream not in self.streams:
                drawn = " and ".join(self.streams) or "no stream"
                raise UserError(
                    f"{stream}_weight={self.weights[stream]:g} would weigh nothing, for {type(self).__name__} draws "
                    f"from {drawn}: leave it at 1"
                )

    # How a step is taken

    def training_step(self, batch: dict[str, Batch], _: int) -> Tensor | None:
        def losses() -> dict[str, Tensor]:
            return {name: getattr(self, f"{name}_loss")(part) for name, part in batch.items() if part is not None}

        if self.automatic_optimization:
            found = losses()
            self.record(found)
            return sum(self.weights[name] * loss for name, loss in found.items()) + self.penalty()
        self.step_on(losses)
        return None

    def record(self, losses: dict[str, Tensor]) -> None:
        """Add to the curves of the losses."""
        for name, loss in losses.items():
            self.curves[f"{name}_loss"].append(loss.detach())

    def penalty(self) -> Tensor | float:
        """The add-ons' terms of the loss."""
        return sum(addon.penalty(self) for addon in self.addons)

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
        self.optimizers().step()
        self.optimizers().zero_grad()
        if (scheduler := self.lr_schedulers()) is not None:
            self.lr_scheduler_step(scheduler, None)

    def split_gradients(self, losses: dict[str, Tensor]) -> Gradients:
        """One gradient for each stream, a vector, averaged over processes: what gradient add-ons choose from."""
        parameters = trainable(self.model)
        rows = [flatten(torch.autograd.grad(loss, parameters, materialize_grads=True)) for loss in losses.values()]
        if self.trainer.world_size > 1:
            rows = self.averaged(torch.stack(rows)).unbind()
        return dict(zip(losses, rows, strict=True))

    def averaged(self, gradients: Tensor) -> Tensor:
        """Gradients of the batch that the processes share, from those of the part that each of them has."""
        return self.trainer.strategy.reduce(gradients, reduce_op="mean")

    def combined(self, gradients: Gradients) -> Tensor:
        """The weighted sum of gradients by stream."""
        return sum(self.weights[name] * gradient for name, gradient in gradients.items())

    @torch.no_grad()
    def after_step(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        """Let the add-ons change the weights after an optimiser step."""
        for addon in self.addons:
            addon.after_step(self, optimizer)

    # How Lightning runs it

    def configure_callbacks(self) -> list[L.Callback]:
        return [self.meter, *self.addons]

    def configure_optimizers(self) -> torch.optim.Optimizer | dict:
        if self.make_optimizer is None:
            raise UserError(f"{type(self).__name__} needs an optimizer")
        try:
            optimizer = self.make_optimizer(trainable(self.model))
        except ValueError as error:
            raise UserError(f"method.optimizer: {error}") from None
        optimizer.register_step_post_hook(self.after_step)
        if self.schedule is None:
            return optimizer
        scheduler = self.schedule(optimizer, self.steps_per_epoch, self.epochs)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def count_passes(self) -> None:
        """Have the meter count what passes through the model and the teachers."""
        for network in (self.model, *(m.network for m in self.modules() if isinstance(m, Teacher))):
            self.meter.watch(network)

    def on_fit_start(self) -> None:
        self.count_passes()

    def on_train_epoch_start(self) -> None:
        self.model.train()
        if self.batch_norm == "eval":
            for module in self.model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def on_train_epoch_end(self) -> None:
        lost = [name for name, values in self.curves.items() if not torch.stack(values[-1:]).isfinite().all()]
        if lost:
            raise UserError(
                f"{type(self).__name__}: {lost[0]} is not finite after epoch {self.current_epoch + 1}: "
                "the run diverged; a smaller learning rate (optimizer.lr) or forget weight is the usual remedy"
            )

    def on_train_end(self) -> None:
        self.model.eval()
        if self.trainer.world_size > 1:
            self.meter.add_from_processes(partial(self.trainer.strategy.reduce, reduce_op="sum"), self.device)


class OneShot(Method):
    """A method that looks at its streams once, without training, and then edits the weights.

    ``observe`` is called with every batch and adds to ``self.observations``, tensors that depend on nothing but the
    model, the data and the options named in ``observes_with``: so they are cached, and a sweep over the other options
    looks at the data once; so do methods that inherit the same ``observe`` and set those options alike. ``edit`` then
    changes the weights from them; where it must try its edits out, ``look(stream)`` passes over one of the method's
    streams. A ``repair`` is another method that goes on from there.
    """

    pairing = "max_size"  # every sample once; None where a stream is exhausted
    augment = False
    observes_with: tuple[str, ...] = ()  # attributes that ``observations`` depend on, besides streams and batch sizes

    def __init__(
        self,
        model: nn.Module,
        batch_size: int = 64,
        forget_batch_size: int | None = None,
        addons: Sequence[Addon] = (),
    ) -> None:
        super().__init__(model, batch_size=batch_size, forget_batch_size=forget_batch_size, addons=addons)
        if self.addons:
            raise UserError(f"add-ons change the steps of first-order methods; {type(self).__name__} takes no steps")
        self.automatic_optimization = False
        self.observations: dict[str, Tensor] = {}
        self.repair: Method | None = None  # trains the same ``model`` after ``edit``
        self.look: Callable[..., Iterator[Batch]] | None = None  # given before ``edit``: ``batches_for`` the method

    needs_full_batches = False

    def sights(self) -> Iterator[tuple[str, bool]]:
        yield from super().sights()
        if self.repair is not None:
            yield from self.repair.sights()

    def observation_key(self) -> dict[str, object]:
        """What besides model, data and seed decides the observations."""
        sizes = {stream: self.batch_sizes[stream] for stream in self.streams}
        options = {name: getattr(self, name) for name in self.observes_with}
        return {"observer": self.observer(), "streams": list(self.streams), "batch_sizes": sizes} | options

    @classmethod
    def observer(cls) -> str:
        """The class, by its full name, whose ``observe`` this method has."""
        owner = next(c for c in cls.__mro__ if "observe" in vars(c))
        return f"{owner.__module__}.{owner.__qualname__}"

    def observe(self, stream: str, batch: Batch) -> None:
        """Add what one batch tells to ``self.observations``."""
        raise NotImplementedError

    def add(self, name: str, value: Tensor) -> None:
        """Add to the observation of that name, which starts at zero."""
        self.observations[name] = self.observations[name].add_(value) if name in self.observations else value

    def edit(self) -> None:
        """Change the weights of ``self.model`` from ``self.observations``; runs under ``no_grad``."""
        raise NotImplementedError

    def training_step(self, batch: dict[str, Batch | None], _: int) -> None:
        for stream, part in batch.items():
            if part is not None:
                self.observe(stream, part)

    def on_train_epoch_start(self) -> None:
        self.model.eval()

    def on_train_epoch_end(self) -> None:
        if self.trainer.world_size > 1:
            self.observations = {
                n: self.trainer.strategy.reduce(t, reduce_op="sum") for n, t in self.observations.items()
            }

    def configure_optimizers(self) -> None:
        return None
