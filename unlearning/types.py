"""The few records that data, methods and metrics share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Batch(NamedTuple):
    """Samples of one stream, as a method receives them."""

    images: Tensor  # (B, C, H, W) normalised float images, or (B, F) features
    labels: Tensor | None  # (B,) class numbers; None for a method that declares ``sees_labels = False``
    ids: Tensor  # (B,) rows of the data set, stable over epochs
    forget: Tensor  # (B,) bool: the sample is in the forget set


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
    """What a method may know of the task besides the batches of its streams."""

    num_classes: int
    forget_classes: tuple[int, ...]  # as in Split
    sizes: dict[str, int]  # samples in each stream: forget, retain, train
    input_shape: tuple[int, ...]  # of one sample: (C, H, W) or (F,)
    low: Tensor  # (C, 1, 1): the smallest normalised value of a pixel, by channel; (F,): of a feature
    high: Tensor  # the largest
    augmented: bool  # training images are augmented, so one sample's pixels differ from pass to pass
    fresh_model: Callable[[], nn.Module]  # a new randomly initialised network of the original's architecture
    starting_model: Callable[[], nn.Module]  # what the original was trained from: fresh, or with published weights
    named_classes: tuple[int, ...] = ()  # as in Split
    original_start: Callable[[], nn.Module] | None = None  # with the very weights; None for a checkpoint of the user's
