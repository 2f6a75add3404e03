"""The data that the steps of a method draw, by phase."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from torch import Tensor

from ..errors import UserError

STREAMS = ("forget", "retain", "train", "validation")

Pairing = Literal["max_size_cycle", "max_size"]
Order = Literal["shuffled", "by_class", "retain_first"]


@dataclass(frozen=True, eq=False)
class Feed:
    """The data that the steps of a phase draw. A method receives nothing else.

    Args:
        streams: the training sets that a step draws from: ``forget``, ``retain``, or ``train`` (both in one batch).
        looks: streams that are looked at outside the steps; also ``validation``, which no step may draw from.
        labels: whether the batches have labels.
        pairing: how streams are drawn together. ``max_size_cycle``: an epoch is a pass over the longest, and the others
            start again; ``max_size``: each sample once, then None.
        batch_sizes: samples of each stream in a batch, over all processes.
        order: of the samples in a stream: ``shuffled`` anew in every epoch; ``by_class``, sorted by label; or
            ``retain_first``, those to retain before those to forget, and each of the two parts by class, or by finer
            class where no class is forgotten whole. Batches of one class tell which samples share a label, so a feed
            without labels is ``shuffled``.
        augment: whether training images are augmented, where the data set has an augmentation.
        retain_share: the fraction of the retain set that is handed out, the same in every epoch.
        left_out: ids of samples that are not drawn.
        steps: steps of an epoch, if it is not as long as its streams: these start again, or are cut short. ``forget``:
            as many as the forget set has batches, whether or not they are drawn. Without streams the batches are the
            numbers of the steps.
        full_batches: a last batch of one sample is left out, since BatchNorm cannot train on it.

    Raises ``UserError`` for an order by class without labels.
    """

    streams: tuple[str, ...] = ("forget", "retain")
    looks: tuple[str, ...] = ()
    labels: bool = True
    pairing: Pairing = "max_size_cycle"
    batch_sizes: Mapping[str, int] = field(default_factory=dict)
    order: Order = "shuffled"
    augment: bool = True
    retain_share: float = 1.0
    left_out: Tensor | None = None
    steps: int | Literal["forget"] | None = None
    full_batches: bool = False

    def __post_init__(self) -> None:
        if self.order != "shuffled" and not self.labels:
            raise UserError(
                f"method.order={self.order} sorts the samples by class, and this method sees no labels: leave it at "
                "method.order=shuffled",
                key="method.order",
                kind="conflict",
            )


@dataclass(frozen=True, eq=False)
class Phase:
    """Consecutive epochs of a run that draw from one feed.

    Args:
        name: what is done in it.
        feed: what its steps draw.
        passes: its epochs.
        begin: called before its first epoch, such as to clear the state of the optimiser.
        scheduled: whether the learning-rate schedule goes on in it.
    """

    name: str
    feed: Feed
    passes: int = 1
    begin: Callable[[], None] | None = None
    scheduled: bool = True


class Plan(NamedTuple):
    """How a stream is drawn by each process."""

    samples: int
    batch_size: int
    drops_lone: bool  # whether a last batch of one sample is left out

    @property
    def steps(self) -> int:
        """Batches of a pass."""
        return self.samples // self.batch_size if self.drops_lone else -(-self.samples // self.batch_size)
