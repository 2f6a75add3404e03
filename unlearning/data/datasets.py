"""Data sets as arrays in memory: every loader returns the same record, with images as uint8 or features as floats.

A loader is named by ``_target_`` in ``conf/dataset/<name>.yaml`` and takes its options from there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from sklearn.model_selection import train_test_split
from torch import Tensor

from ..errors import UserError, nearest
from .decoding import decoded, list_images
from .trigger import Trigger


@dataclass(frozen=True)
class Dataset:
    """All samples of a data set, train and test together; a sample's id is its row.

    Images stay uint8 and channels-last in memory, so a batch becomes a channels-last float tensor for free. Raises
    ``UserError`` for statistics and augmentation that do not fit the samples.
    """

    name: str
    inputs: Tensor  # (N, H, W, C) uint8, or (N, F) float32 features that are normalised already
    labels: Tensor  # (N,) int64
    classes: tuple[str, ...]
    train: Tensor  # ids, disjoint from validation and test
    validation: Tensor
    test: Tensor
    mean: tuple[float, ...]  # of a channel, for pixels in [0, 1]; of a feature, before it was normalised
    std: tuple[float, ...]
    crop: int = 0  # training augmentation: random crop after padding by so many pixels
    flip: bool = False  # training augmentation: random horizontal flip
    rotation: float = 0.0  # training augmentation: random rotation by up to so many degrees
    superclasses: Mapping[str, Sequence[int | str]] | None = None  # the (fine) classes in each, by name or number
    fine_labels: Tensor | None = None  # (N,) classes of a finer labelling, where ``labels`` are super-classes
    fine_classes: tuple[str, ...] = ()
    clean_labels: Tensor | None = None  # (N,) the right labels, where a scenario gave some samples wrong ones
    trigger: Trigger | None = None  # what a scenario stamps on the samples for which
    triggered: Tensor | None = None  # (N,) bool is true

    def __post_init__(self) -> None:
        channels = self.inputs.shape[-1]
        for option, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != channels:
                raise UserError(f"dataset.{option}={list(values)} must have {channels} numbers, one for each channel")
        if not all(value > 0 for value in self.std):
            raise UserError(f"dataset.std={list(self.std)} must be above 0 in every channel")
        if self.crop < 0:
            raise UserError(f"dataset.crop={self.crop} must be at least 0: the pixels to pad by; 0 crops nothing")
        if not 0 <= self.rotation <= 180:
            raise UserError(f"dataset.rotation={self.rotation} must lie in [0, 180] degrees; 0 turns nothing")

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample as a network sees it: (C, H, W), or (F,)."""
        if self.inputs.ndim == 2:
            return tuple(self.inputs.shape[1:])
        _, height, width, channels = self.inputs.shape
        return channels, height, width

    @property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """The smallest and largest value as a network sees it: of a pixel, (C, 1, 1); of a training feature, (F,)."""
        if self.inputs.ndim == 2:
            features = self.inputs[self.train]
            return features.amin(0), features.amax(0)
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        return -mean / std, (1 - mean) / std

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that decides what a network sees: samples, split, normalisation, augmentation, trigger."""
        prepared = self.mean, self.std, self.crop, self.flip, self.rotation
        digest = hashlib.sha256(repr(prepared).encode())
        for tensor in (self.inputs, self.labels, self.train, self.validation, self.test):
            digest.update(tensor.contiguous().numpy())
        if self.trigger is not None:
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

    def class_number(self, wanted: str | int) -> int:
        """The number of a class given by name or number."""
        if str(wanted) in self.classes:
            return self.classes.index(str(wanted))
        if str(wanted).isdigit() and int(wanted) < len(self.classes):
            return int(wanted)
        names = [*self.classes, *map(str, range(len(self.classes)))] if str(wanted).isdigit() else self.classes
        hint = f"numbers go from 0 to {len(self.classes) - 1}" if str(wanted).isdigit() else nearest(str(wanted), names)
        raise UserError(f"dataset {self.name} has no class {wanted!r}: {hint}")


def hold_out(ids: Tensor, labels: Tensor, fraction: float, seed: int, what: str) -> tuple[Tensor, Tensor]:
    """(kept, held out): a stratified share of ``ids``, both sorted."""
    if not 0 <= fraction < 1:
        raise UserError(f"split.{what} must lie in [0, 1), not {fraction}")
    if fraction == 0:
        return ids, ids[:0]
    try:
        kept, held = train_test_split(ids.numpy(), test_size=fraction, random_state=seed, stratify=labels[ids].numpy())
    except ValueError as error:
        raise UserError(f"split.{what}={fraction} cannot be drawn from {len(ids)} samples by class: {error}") from None
    return torch.from_numpy(np.sort(kept)), torch.from_numpy(np.sort(held))


def digits(
    seed: int,
    validation: float = 0.1,
    test: float = 0.2,
    superclasses: Mapping[str, Sequence[int | str]] | None = None,
) -> Dataset:
    """Scikit-learn's digits: 1,797 real 8 x 8 grey images, bundled, split by class into train/validation/test."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    inputs = torch.from_numpy((raw.images * (255 / 16)).round().astype(np.uint8))[..., None]
    labels = torch.from_numpy(raw.target).long()
    rest, held = hold_out(torch.arange(len(labels)), labels, test, seed, "test")
    train, val = hold_out(rest, labels, validation, seed, "validation")
    names = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    statistics = {"mean": (0.3053,), "std": (0.3759,)}
    return Dataset("digits", inputs, labels, names, train, val, held, **statistics, superclasses=superclasses)


TORCHVISION = {  # class, the files that must lie under the root when there is no network
    "mnist": ("MNIST", "MNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte"),
    "fashion_mnist": ("FashionMNIST", "FashionMNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte"),
    "svhn": ("SVHN", "train_32x32.mat and test_32x32.mat"),
    "cifar10": ("CIFAR10", "cifar-10-batches-py/ (unpacked from cifar-10-python.tar.gz)"),
    "cifar100": ("CIFAR100", "cifar-100-python/ (unpacked from cifar-100-python.tar.gz)"),
}


def torchvision(
    name: str,
    root: str,
    seed: int,
    mean: Sequence[float],
    std: Sequence[float],
    validation: float = 0.1,
    crop: int = 0,
    flip: bool = False,
    rotation: float = 0.0,
    superclasses: Mapping[str, Sequence[int | str]] | None = None,
    coarse: bool = False,
) -> Dataset:
    """A data set of torchvision, downloaded into ``root`` if it is not there; ``coarse``: labelled by super-class."""
    parts = [_fetch(name, Path(root), train) for train in (True, False)]
    inputs = torch.cat([torch.from_numpy(images) for images, _, _ in parts])
    labels = torch.cat([torch.as_tensor(labels, dtype=torch.int64) for _, labels, _ in parts])
    classes = tuple(parts[0][2])
    first = len(parts[0][1])
    train, val = hold_out(torch.arange(first), labels, validation, seed, "validation")
    ids = train, val, torch.arange(first, len(labels))
    statistics = tuple(mean), tuple(std)
    fine = Dataset(name, inputs, labels, classes, *ids, *statistics, crop, flip, rotation, superclasses)
    return coarsened(fine) if coarse else fine


def coarsened(dataset: Dataset) -> Dataset:
    """The data set labelled by super-class, with its own labels kept as the fine ones; as it is if it has fine ones.

    Raises ``UserError`` where it has no super-classes, or they do not hold each class once.
    """
    if dataset.fine_labels is not None:
        return dataset
    if not dataset.superclasses:
        raise UserError(
            f"{dataset.name} has no super-classes: set dataset.superclasses={{NAME: [CLASS, ...], ...}}, or choose a "
            "data set that has them, such as digits or cifar100"
        )
    coarse = torch.full((len(dataset.classes),), -1)
    for number, members in enumerate(dataset.superclasses.values()):
        coarse[[dataset.class_number(member) for member in members]] = number
    if (coarse < 0).any() or sum(map(len, dataset.superclasses.values())) != len(coarse):
        raise UserError(f"dataset.superclasses must hold each of the {len(coarse)} classes of {dataset.name} once")
    return replace(
        dataset,
        labels=coarse[dataset.labels],
        classes=tuple(dataset.superclasses),
        fine_labels=dataset.labels,
        fine_classes=dataset.classes,
    )


def _fetch(name: str, root: Path, train: bool) -> tuple[np.ndarray, list[int], list[str]]:
    """(N, H, W, C) uint8 images, labels and class names of one official part."""
    from torchvision import datasets

    kind, files = TORCHVISION[name]
    which = {"split": "train" if train else "test"} if name == "svhn" else {"train": train}
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{name}.lock"):  # processes that start together download once
            part = getattr(datasets, kind)(root, download=True, **which)
    except (OSError, RuntimeError) as error:  # no network, a refused download or a damaged archive
        raise UserError(
            f"{name} is not under {root} and could not be downloaded ({error}): put {files} there, or set dataset.root"
        ) from None
    labels = part.labels if name == "svhn" else part.targets
    images = np.asarray(part.data)
    if name == "svhn":
        images = images.transpose(0, 2, 3, 1)
    elif images.ndim == 3:
        images = images[..., None]
    names = [str(n) for n in range(10)] if name == "svhn" else [n.split(" - ")[-1] for n in part.classes]
    return np.ascontiguousarray(images), list(map(int, labels)), names


def image_folder(
    name: str,
    root: str,
    cache: str,
    seed: int,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    validation: float = 0.1,
    test: float = 0.2,
    crop: int = 0,
    flip: bool = False,
    rotation: float = 0.0,
    limit: int | None = None,
    superclasses: Mapping[str, Sequence[int | str]] | None = None,
) -> Dataset:
    """Your own images: ``root/train/<class>/*`` and ``root/test/<class>/*``, or just ``root/<class>/*``.

    Every image is decoded once, in parallel, to ``size`` x ``size`` RGB, and kept under ``cache``; later runs map that
    file. Without a test folder a stratified ``test`` share is held out. ``limit`` takes the first so many images of
    each class, in each part. ``superclasses`` maps names to lists of the folders.
    """
    top = Path(root).expanduser()
    parts = [p for p in ("train", "test") if (top / p).is_dir()]
    if parts == ["test"] or not top.is_dir():
        raise UserError(
            f"no images under {top}: put them in {top}/train/<class>/ and {top}/test/<class>/, or just {top}/<class>/"
        )
    listing = [list_images(top / p if parts else top) for p in parts or [""]]
    classes = sorted({c for rows in listing for c, _ in rows})
    if len(classes) < 2:
        raise UserError(f"{top} needs at least two class folders that hold images, and has {classes or 'none'}")
    if limit is not None:
        if limit < 1:
            raise UserError(f"dataset.limit={limit} must be at least 1, or null for all images")
        listing = [[row for c in classes for row in [r for r in part if r[0] == c][:limit]] for part in listing]
    rows = [row for part in listing for row in part]
    inputs = torch.from_numpy(decoded([f for _, f in rows], top, size, Path(cache)))
    labels = torch.tensor([classes.index(c) for c, _ in rows])
    ids = torch.arange(len(rows))
    if len(parts) == 2:
        rest, held = ids[: len(listing[0])], ids[len(listing[0]) :]
    else:
        rest, held = hold_out(ids, labels, test, seed, "test")
    train, val = hold_out(rest, labels, validation, seed, "validation")
    statistics = tuple(mean), tuple(std)
    augmentation = {"crop": crop, "flip": flip, "rotation": rotation}
    return Dataset(
        name, inputs, labels, tuple(classes), train, val, held, *statistics, **augmentation, superclasses=superclasses
    )
