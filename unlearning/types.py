"""The data structures, bounds and protocols shared by data, methods, add-ons and metrics."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Annotated, NamedTuple, Protocol

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn

if TYPE_CHECKING:
    from .runtime.common_random import CommonRandom
    from .runtime.cost import Meter

# Bounds of options: the configuration is checked against them before anything is built

Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Probability = Annotated[float, Ge(0), Le(1)]
Fraction = Annotated[float, Gt(0), Le(1)]  # above 0, at most 1
PartialFraction = Annotated[float, Gt(0), Lt(1)]  # strictly between 0 and 1
Percentage = Annotated[float, Ge(0), Le(100)]
AboveOne = Annotated[float, Gt(1)]  # a factor that makes something larger
Count = Annotated[int, Ge(1)]
Several = Annotated[int, Ge(2)]
CountOrNone = Annotated[int, Ge(0)]  # zero is allowed


class Batch(NamedTuple):
    """Samples of one stream, as a method receives them."""

    images: Tensor  # (B, C, H, W) normalised float images, or (B, F) features
    labels: Tensor | None  # (B,) class numbers; None where the feed has labels=False
    ids: Tensor  # (B,) rows of the data set, stable over epochs
    forget: Tensor  # (B,) bool: the sample is in the forget set

    @property
    def targets(self) -> Tensor:
        """The labels of a batch that has them."""
        assert self.labels is not None, "a feed with labels=True has them"
        return self.labels

    def select(self, rows: Tensor | slice) -> Batch:
        """The batch of the samples at these positions: numbers, a (B,) mask, or a slice."""
        labels = None if self.labels is None else self.labels[rows]
        return Batch(self.images[rows], labels, self.ids[rows], self.forget[rows])


@dataclass(frozen=True)
class Split:
    """Index sets (sorted rows of the data set) that a scenario yields; every later number is over these."""

    train: Tensor  # all training samples: forget and retain together
    forget: Tensor
    retain: Tensor
    validation: Tensor
    test: Tensor
    test_forget: Tensor  # the part of test that is like the forget set; empty where there is none (random forgetting)
    test_retain: Tensor
    forget_classes: tuple[int, ...] = ()  # the classes that are forgotten whole, if the request is by class
    named_classes: tuple[int, ...] = ()  # those that the request names: whole, in part, or by a finer class of them
    manipulated: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))  # forget: the known of them

    @property
    def sets(self) -> dict[str, Tensor]:
        return {f.name: value for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)}

    @property
    def all_known(self) -> Split:
        """The split that there would be if all manipulated samples were known."""
        retain = self.train[~torch.isin(self.train, self.manipulated)]
        return replace(self, forget=self.manipulated, retain=retain)

    @property
    def digest(self) -> str:
        """SHA-256 over all index sets, by name, and the classes of the request."""
        digest = hashlib.sha256(repr((self.forget_classes, self.named_classes)).encode())
        for name, ids in self.sets.items():
            digest.update(name.encode())
            digest.update(ids.to(torch.int64).numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Task:
    """The facts of the task that a method may know besides the batches of its streams."""

    num_classes: int
    forget_classes: tuple[int, ...]  # as in Split
    sizes: Mapping[str, int]  # samples in each stream: forget, retain, train
    input_shape: tuple[int, ...]  # of one sample: (C, H, W) or (F,)
    augmented: bool  # training images are augmented, so one sample's pixels differ from pass to pass
    named_classes: tuple[int, ...] = ()  # as in Split


@dataclass(frozen=True)
class Networks:
    """Makers of networks of the original's architecture."""

    fresh: Callable[[], nn.Module]  # randomly initialised
    starting: Callable[[], nn.Module]  # what the original was trained from: fresh, or with published weights
    original_start: Callable[[], nn.Module] | None = None  # with the very weights; None for a checkpoint of the user's


Gradients = dict[str, Tensor]  # of the loss of each stream: vectors over the trainable parameters, unweighted


class Steps(Protocol):
    """A first-order method as its add-ons see it."""

    model: nn.Module
    meter: Meter
    curves: dict[str, list[Tensor]]
    weights: dict[str, float]  # of the loss of each stream
    label_smoothing: float
    replaces: bool  # whether it begins by putting other weights in the place of the original's
    randoms: Sequence[CommonRandom]  # from which its losses draw, besides torch's global generators

    @property
    def task(self) -> Task: ...

    @property
    def networks(self) -> Networks: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def current_epoch(self) -> int: ...

    @property
    def passes(self) -> int:
        """Passes over the data of the whole run."""

    @property
    def processes(self) -> int:
        """Processes that share each batch."""

    @property
    def streams(self) -> Sequence[str]:
        """The streams that any of its steps draws from."""

    @property
    def always_draws(self) -> Sequence[str]:
        """The streams that every step draws from."""

    @property
    def labelled(self) -> bool:
        """Whether its batches have labels."""

    @property
    def smooths(self) -> bool:
        """Whether a loss of the method has labels that can be smoothed."""

    def batch_size(self, stream: str) -> int:
        """The samples of a stream in a batch, over all processes."""

    def free(self) -> dict[nn.Parameter, Tensor]:
        """Where each trainable parameter may change, bool in its shape."""

    def split_gradients(self, losses: dict[str, Tensor]) -> Gradients:
        """The gradient of each loss, averaged over processes."""

    def combined(self, gradients: Gradients) -> Tensor:
        """The weighted sum of gradients by stream."""

    def look(
        self,
        stream: str,
        asker: Looks | None = None,
        shuffle: torch.Generator | None = None,
        augment: bool = False,
        batch_size: int | None = None,
    ) -> Iterator[Batch]:
        """One pass over a stream outside the steps."""


class Looks(Protocol):
    """Something besides the method that declares what it looks at: an add-on."""

    looks: Sequence[str]
    sees_labels: bool
