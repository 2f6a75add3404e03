"""The phases of a run, the data of each, and the weights that it may change."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from torch import Tensor, nn

from ..addons.base import Addon
from ..data.feed import Feed, Phase
from ..errors import UserError
from ..gradients.vectors import parts, trainable
from ..runtime.common_random import CommonRandom
from ..runtime.cost import Meter
from ..types import Batch, Looks, Networks, Task
from .guard import Guard

if TYPE_CHECKING:
    from ..data.datamodule import UnlearningData

log = logging.getLogger("unlearning")


class Course(L.LightningModule):
    """A network that goes through phases of epochs, each with its own feed of data.

    Args:
        model: the network.
        epochs: epochs of the run, where it is a single phase.
        addons: change how steps are taken; kept in the order in which they act.
        keep: what the model must keep of the original; see ``Guard``.
    """

    feed: Feed
    data: UnlearningData  # hands out the batches; set by the code that fits the method
    replaces = False  # True: it begins by putting other weights in the place of the original's
    knows_classes = False  # True: it is told which classes a request names, and ``access`` says so
    randoms: Sequence[CommonRandom] = ()  # from which its losses draw, besides torch's global generators
    label_smoothing = 0.0  # of every cross-entropy; the add-on of that name sets it

    def __init__(self, model: nn.Module, epochs: int, addons: Sequence[Addon], keep: float | None) -> None:
        super().__init__()
        self.model, self.epochs = model, epochs
        self.addons = sorted(addons, key=lambda addon: (addon.holds, not addon.moves))  # otherwise in the order given
        self.guard = None if keep is None else Guard(model, keep)
        self.meter = Meter()
        self.curves: dict[str, list[Tensor]] = defaultdict(list)

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

    @property
    def steps_per_epoch(self) -> float:
        """Batches of one of ``epochs``, on average over the scheduled phases; a schedule is made for as many steps."""
        return (
            sum(phase.passes * self.data.steps(phase.feed) for phase in self.phases() if phase.scheduled) / self.epochs
        )

    @property
    def resumed(self) -> bool:
        """Whether the run goes on from a checkpoint, whose weights are in place by ``on_fit_start``.

        This is for those who fit a method with a Lightning trainer of their own. ``run.py`` repeats an unlearning that
        was interrupted; ``engine.unfinished`` resumes a training, and adds what is missing here. A checkpoint holds all
        state of the method and its add-ons that steps depend on: what comes before the first step is not done again,
        and for the same batches and random draws the steps are the same as without the interruption. The order of
        samples and the state of the global random generators are not in it: both are drawn anew. Nor are costs and
        curves: they begin with the first step after it.
        """
        return self.trainer.ckpt_path is not None

    def begin(self) -> None:
        """Called when ``data`` is there, before the parts are fitted: a method may make its parts here."""

    # What a finished run should be told with

    @staticmethod
    def remarks(last: Mapping[str, float], options: Mapping[str, Any], sizes: Mapping[str, int]) -> Iterator[str]:
        """Warnings about a run, from the last value of each curve, its settings, and the sizes of its index sets."""
        yield from ()

    # What keeps it from destroying the model

    def begin_guard(self) -> None:
        """Have the guard measure the original model."""
        if self.guard is not None:
            self.guard.begin(self)

    def end_guard(self) -> None:
        """Go back towards the original model as far as the guard asks for, and say so."""
        if self.guard is None or not self.guard.begun:
            return
        if (part := self.guard.retreat(self.partway(self.guard))) < 1:
            self.curves["way"].append(torch.tensor(part))
            log.warning(
                "%s kept less of the original than method.keep=%g: %.3g of its change remains, the rest was undone",
                type(self).__name__,
                self.guard.keep,
                part,
            )
        self.curves["kept"].append(torch.tensor(self.guard.kept()))

    def partway(self, guard: Guard) -> Callable[[float], None]:
        """A function that places the model at a part of the way from the original, 0, to where it is now, 1."""
        return partial(guard.place, guard.copied())

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
    def labelled(self) -> bool:
        """Whether its batches have labels."""
        return self.feed.labels

    @property
    def smooths(self) -> bool:
        """Whether one of its losses has labels that can be smoothed."""
        return self.labelled

    @property
    def task(self) -> Task:
        """The facts of the task that the method may know."""
        whole = self.data.task
        return whole if self.knows_classes else replace(whole, forget_classes=(), named_classes=())

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
