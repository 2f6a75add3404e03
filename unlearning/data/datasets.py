"""Data sets in memory: the record that every loader returns.

A loader is named by ``_target_`` in ``conf/dataset/<name>.yaml`` and takes its options from there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Le
from sklearn.model_selection import train_test_split
from torch import Tensor

from ..errors import UserError, nearest
from .metadata import Metadata
from .trigger import Trigger

Superclasses = Mapping[str, Sequence[int | str]]  # the (fine) classes in each, by name or number
Degrees = Annotated[float, Ge(0), Le(180)]


@dataclass(frozen=True)
class Dataset:
    """All samples of a data set, training and test together; the id of a sample is its row.

    ``inputs`` are one of three kinds:

    * uint8 images (N, H, W, C), which are normalised by ``mean`` and ``std`` of each channel, and augmented in
      training. They stay channels-last in memory, so that a batch becomes a channels-last float tensor without a copy;
    * float images (N, C, H, W), which a network sees as they are;
    * float features (N, F), which a network sees as they are.

    Args:
        name: the name of the data set, for messages.
        inputs: the samples.
        labels: (N,) int64, the class numbers.
        classes: the names of the classes.
        train, validation, test: disjoint ids, each sorted.
        mean, std: of each channel of uint8 images, for pixels in [0, 1]. For features, those by which they were
            normalised, if there are any; float images have none.
        crop: training augmentation: a random crop after padding by this number of pixels, less than the shorter side.
        flip: training augmentation: a random horizontal flip.
        rotation: training augmentation: a random rotation by up to this number of degrees.
        superclasses: the classes of each super-class, by name or number.
        fine_labels: (N,) classes of a finer labelling, where ``labels`` are super-classes.
        fine_classes: the names of these finer classes.
        clean_labels: (N,) the correct labels, where a scenario made some labels wrong.
        trigger: the mark that a scenario stamps on samples.
        triggered: (N,) bool, the samples with the trigger.
        metadata: facts by which a scenario can select samples, if there are any.
        drawn_validation, drawn_test: whether these samples were drawn from the same ones as the training samples,
            rather than being a part of their own.

    Raises ``UserError`` for samples of another kind, and for statistics and augmentation that do not fit the samples.
    """

    name: str
    inputs: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    train: Tensor
    validation: Tensor
    test: Tensor
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    crop: int = 0
    flip: bool = False
    rotation: float = 0.0
    superclasses: Superclasses | None = None
    fine_labels: Tensor | None = None
    fine_classes: tuple[str, ...] = ()
    clean_labels: Tensor | None = None
    trigger: Trigger | None = None
    triggered: Tensor | None = None
    metadata: Metadata | None = None
    drawn_validation: bool = True
    drawn_test: bool = False

    def __post_init__(self) -> None:
        kind, rank = self.inputs.dtype, self.inputs.ndim
        if not (rank == 4 if self.has_pixels else kind.is_floating_point and rank in (2, 4)):
            raise UserError(
                f"{self.name} has samples of type {kind} and shape {tuple(self.inputs.shape[1:])}: give uint8 images "
                "(N, H, W, C), float images (N, C, H, W), or float features (N, F)",
                key="dataset",
            )
        channels = self.inputs.shape[1] if not self.has_pixels else self.inputs.shape[3]
        for option, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != channels and (self.has_pixels or values):
                raise UserError(
                    f"dataset.{option}={list(values)} must have {channels} numbers, one for each channel",
                    key=f"dataset.{option}",
                )
        if self.has_pixels and self.crop >= min(side := tuple(self.inputs.shape[1:3])):
            raise UserError(
                f"dataset.crop={self.crop} pads images of {side[0]} x {side[1]} pixels by their side, and crops "
                f"would hold nothing of them: set at most {min(side) - 1}",
                key="dataset.crop",
            )
        if self.augmented and not self.has_pixels:
            raise UserError(
                f"{self.name} has float samples, which are not augmented: remove crop, flip and rotation",
                key="dataset.crop" if self.crop else "dataset.flip" if self.flip else "dataset.rotation",
                kind="conflict",
            )

    @property
    def has_pixels(self) -> bool:
        """Whether the samples are uint8 images, rather than floats that a network sees as they are."""
        return self.inputs.dtype == torch.uint8

    @property
    def augmented(self) -> bool:
        """Whether training images are augmented."""
        return bool(self.crop or self.flip or self.rotation)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample as a network sees it: (C, H, W) or (F,)."""
        if not self.has_pixels:
            return tuple(self.inputs.shape[1:])
        _, height, width, channels = self.inputs.shape
        return channels, height, width

    @property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """The smallest and the largest value as a network sees it: (C, 1, 1) for images, (F,) for features.

        For uint8 images these are black and white; for floats the extremes of the training samples.
        """
        if self.has_pixels:
            mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
            return -mean / std, (1 - mean) / std
        samples = self.inputs[self.train]
        if samples.ndim == 2:
            return samples.amin(0), samples.amax(0)
        return samples.amin((0, 2, 3)).view(-1, 1, 1), samples.amax((0, 2, 3)).view(-1, 1, 1)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that decides what a network sees.

        These are the samples, labels, finer labels (which order the samples), number of classes, split, normalisation,
        augmentation and trigger.
        """
        prepared = len(self.classes), self.mean, self.std, self.crop, self.flip, self.rotation
        digest = hashlib.sha256(repr(prepared).encode())
        finer = () if self.fine_labels is None else (self.fine_labels,)
        for tensor in (self.inputs, self.labels, self.train, self.validation, self.test, *finer):
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())  # which shows where each of them ends
            digest.update(tensor.contiguous().numpy().data)
        if self.trigger is not None and self.triggered is not None:
            digest.update(self.trigger.fingerprint + self.triggered.numpy().tobytes())
        return digest.hexdigest()

    @property
    def true_labels(self) -> Tensor:
        """(N,) the labels as they were before a scenario changed any."""
        return self.labels if self.clean_labels is None else self.clean_labels

    def with_trigger(self, trigger: Trigger, ids: Tensor) -> Dataset:
        """The data set with the trigger on the samples ``ids``, and on no others."""
        triggered = torch.zeros(len(self.labels), dtype=torch.bool)
        triggered[ids] = True
        return replace(self, trigger=trigger, triggered=triggered)

    @property
    def undivided(self) -> Dataset:
        """The data set with all samples in training but those of validation and test parts of their own."""
        parts = {"validation": self.drawn_validation, "test": self.drawn_test}
        drawn = {name: getattr(self, name) for name, is_drawn in parts.items() if is_drawn}
        train = torch.cat([self.train, *drawn.values()]).sort().values
        return replace(self, train=train, **{name: ids[:0] for name, ids in drawn.items()})

    def class_number(self, wanted: str | int, key: str = "scenario.classes") -> int:
        """The number of a class given by name or number, in the setting ``key``.

        Raises ``UserError`` where there is no such class.
        """
        name, count = str(wanted), len(self.classes)
        if name in self.classes:
            return self.classes.index(name)
        if not name.isdigit():
            raise UserError(
                f"dataset {self.name} has no class {wanted!r}: {nearest(name, self.classes)}", key=key, kind="choice"
            )
        if int(name) >= count:
            raise UserError(
                f"dataset {self.name} has no class {wanted!r}: numbers go from 0 to {count - 1}", key=key, kind="choice"
            )
        return int(name)


def hold_out(ids: Tensor, labels: Tensor, fraction: float, seed: int, part: str) -> tuple[Tensor, Tensor]:
    """Hold out a fraction of ``ids``, stratified by class: (kept, held out), both sorted.

    Raises ``UserError`` about the setting ``split.<part>`` where the fraction cannot be drawn.
    """
    key = f"split.{part}"
    if not 0 <= fraction < 1:  # here rather than in the loaders' signatures, because users set split.validation
        raise UserError(f"{key}={fraction} must be at least 0 and less than 1", key=key)
    if fraction == 0:
        return ids, ids[:0]
    try:
        kept, held = train_test_split(ids.numpy(), test_size=fraction, random_state=seed, stratify=labels[ids].numpy())
    except ValueError as error:
        raise UserError(
            f"{key}={fraction} cannot be drawn from {len(ids)} samples by class: {error}", key=key
        ) from None
    return torch.from_numpy(np.sort(kept)), torch.from_numpy(np.sort(held))


def coarsened(dataset: Dataset) -> Dataset:
    """The data set labelled by super-class, with its own labels kept as the fine ones.

    A data set that has fine labels already is returned unchanged. Raises ``UserError`` where there are no
    super-classes, or where they do not hold each class once.
    """
    if dataset.fine_labels is not None:
        return dataset
    if not dataset.superclasses:
        raise UserError(
            f"{dataset.name} has no super-classes: set dataset.superclasses={{NAME: [CLASS, ...], ...}}, or choose a "
            "data set that has them, such as digits or cifar100",
            key="dataset.superclasses",
            kind="missing",
        )
    coarse = torch.full((len(dataset.classes),), -1)
    for number, members in enumerate(dataset.superclasses.values()):
        coarse[[dataset.class_number(member, "dataset.superclasses") for member in members]] = number
    if (coarse < 0).any() or sum(map(len, dataset.superclasses.values())) != len(coarse):
        raise UserError(
            f"dataset.superclasses must hold each of the {len(coarse)} classes of {dataset.name} once",
            key="dataset.superclasses",
        )
    return replace(
        dataset,
        labels=coarse[dataset.labels],
        classes=tuple(dataset.superclasses),
        fine_labels=dataset.labels,
        fine_classes=dataset.classes,
    )
