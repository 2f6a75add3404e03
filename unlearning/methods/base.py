"""The base class of unlearning methods: a trained classifier that ``Trainer.fit`` changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from ..addons.base import Addon
from ..data.feed import Feed
from ..errors import UserError
from ..models.base import batch_norms
from ..models.ensemble import Ensemble
from ..schedules import Schedule
from ..types import Batch, Count, NonNegative, PartialFraction, Task
from .step import BatchNormPolicy, MakeOptimizer, Stepper

Stronger = Mapping[str, Literal["larger", "smaller"]]


class Method(Stepper):
    """A first-order method: descend ``forget_weight * forget_loss + retain_weight * retain_loss``.

    A subclass writes one or both losses, and declares in ``feed`` what data its steps draw: it gets no other. Where the
    run has several phases, which draw differently, it also writes ``phases``.

    Args:
        model: the trained classifier to change, (B, C, H, W) to logits (B, num_classes).
        optimizer: makes the optimiser from the parameters.
        schedule: makes the learning-rate schedule; see ``unlearning.schedules``.
        epochs: passes over the longest stream, where the others start again; or, with ``epoch_of="forget"``, as many
            steps as the forget set has batches, also for a method that does not draw from it.
        batch_size: of every stream, over all processes, unless ``forget_batch_size`` gives that of the forget stream.
        forget_weight, retain_weight: factors of the two losses.
        batch_norm: whether BatchNorm layers normalise by batch and move their running statistics (``train``), use the
            running statistics as they are (``eval``), or are not changed at all: neither statistics nor weights
            (``frozen``).
        addons: change how each step is taken; see ``addons.base.Addon``.
        keep: what the model must keep of the original, as ``Guard`` measures it, or else it goes back towards the
            original; None: no such rule. A method that sees forget samples alone ends at the first step after which the
            model keeps less; one that sees others, or none, may mend what it breaks and is judged at its end.
    """

    feed = Feed()
    serves_ensembles = False  # True: it knows what to do with an ensemble of shards
    needs_forget_classes = False  # True: only for requests to forget whole classes (see ``task.forget_classes``)
    stronger: Stronger = {"optimizer.lr": "larger"}  # which value of an option changes the model more
    parts: Mapping[str, Method] = {}  # methods around copies of the original, which are fitted before this one

    def __init__(
        self,
        model: nn.Module,
        optimizer: MakeOptimizer | None = None,
        schedule: Schedule | None = None,
        epochs: Count = 1,
        epoch_of: Literal["longest", "forget"] = "longest",
        batch_size: Count = 64,
        forget_batch_size: Count | None = None,
        forget_weight: NonNegative = 1.0,
        retain_weight: NonNegative = 1.0,
        batch_norm: BatchNormPolicy = "train",
        addons: Sequence[Addon] = (),
        keep: PartialFraction | None = None,
    ) -> None:
        weights = {"forget": forget_weight, "retain": retain_weight, "train": 1.0}
        super().__init__(model, optimizer, schedule, epochs, weights, batch_norm, addons, keep)
        sizes = {"forget": forget_batch_size or batch_size, "retain": batch_size, "train": batch_size}
        full = batch_norm == "train" and bool(batch_norms(model))  # BatchNorm cannot train on a batch of one
        self.feed = replace(self.feed, batch_sizes=sizes, full_batches=full)
        if epoch_of == "forget":
            self.feed = replace(self.feed, steps="forget")

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

    def cross_entropy(self, logits: Tensor, labels: Tensor | None) -> Tensor:
        """Mean over the batch, of logits (B, num_classes), with the labels smoothed where an add-on asks for it."""
        assert labels is not None, "a feed with labels=True has them"
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)

    # What it declares

    def sights(self) -> Iterator[tuple[str, bool]]:
        """(stream, with labels) of all that the method and its add-ons may see."""
        yield from ((stream, self.feed.labels) for stream in (*self.feed.streams, *self.feed.looks))
        yield from ((stream, addon.sees_labels) for addon in self.addons for stream in addon.looks)
        for part in self.parts.values():
            yield from part.sights()

    @property
    def access(self) -> dict[str, str]:
        """What the method and its add-ons may see: of each stream, and of the classes that a request names."""
        seen = set(self.sights())
        found = {stream: "inputs and labels" if (stream, True) in seen else "inputs" for stream, _ in sorted(seen)}
        if self.feed.order == "retain_first":  # which sorts by them
            found |= dict.fromkeys(self.feed.streams, "inputs and finer labels")
        return found | ({"classes": "numbers"} if self.knows_classes else {})

    def check(self, task: Task) -> None:
        """Raise ``UserError`` for a task that the method cannot serve; called before any model is trained."""
        for part in self.parts.values():
            part.check(task)
        name = type(self).__name__
        if isinstance(self.model, Ensemble) and not self.serves_ensembles:
            raise UserError(
                f"{name} changes one network, and pretrain=sisa trains an ensemble, whose stored states also know the "
                "samples to forget: use method=sisa, or another pretrain",
                key="method",
                kind="conflict",
            )
        if self.needs_forget_classes and not task.forget_classes:
            raise UserError(
                f"{name} forgets whole classes only: use scenario=class without a count",
                key="scenario",
                kind="conflict",
            )
        for stream in ("forget", "retain"):
            written = getattr(type(self), f"{stream}_loss") is not getattr(Method, f"{stream}_loss")
            if self.weights[stream] != 1 and not written and stream not in self.streams:
                key = f"method.{stream}_weight"
                raise UserError(f"{key} has no effect: {name} does not use the {stream} set; remove it", key=key)
