"""Data sets of torchvision, downloaded where they are missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from filelock import FileLock

from ..errors import UserError
from ..types import CountOrNone, Positive
from .datasets import Dataset, Degrees, Superclasses, coarsened, hold_out

Name = Literal["mnist", "fashion_mnist", "svhn", "cifar10", "cifar100"]


@dataclass(frozen=True)
class Source:
    """How torchvision holds a data set.

    Args:
        kind: the name of its class in ``torchvision.datasets``.
        files: paths below the root that make a download unnecessary.
        axes: of its images.
        labels: the attribute with the labels.
        split: whether the official parts are chosen by ``split="train"`` rather than by ``train=True``.
        classes: the names of the classes; where it is None, the data set knows them.
    """

    kind: str
    files: tuple[str, ...]
    axes: Literal["NHW", "NHWC", "NCHW"] = "NHWC"
    labels: str = "targets"
    split: bool = False
    classes: tuple[str, ...] | None = None


SOURCES: dict[Name, Source] = {
    "mnist": Source("MNIST", ("MNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte",), axes="NHW"),
    "fashion_mnist": Source(
        "FashionMNIST", ("FashionMNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte",), axes="NHW"
    ),
    "svhn": Source(
        "SVHN",
        ("train_32x32.mat", "test_32x32.mat"),
        axes="NCHW",
        labels="labels",
        split=True,
        classes=tuple("0123456789"),
    ),
    "cifar10": Source("CIFAR10", ("cifar-10-python.tar.gz",)),
    "cifar100": Source("CIFAR100", ("cifar-100-python.tar.gz",)),
}


@dataclass(frozen=True)
class Part:
    """One official part of a data set: uint8 images (N, H, W, C), labels (N,), and the names of all classes."""

    images: np.ndarray
    labels: list[int]
    classes: tuple[str, ...]


def torchvision(
    name: Name,
    root: str,
    seed: int,
    mean: Sequence[float],
    std: Sequence[Positive],
    validation: float = 0.1,
    crop: CountOrNone = 0,
    flip: bool = False,
    rotation: Degrees = 0.0,
    superclasses: Superclasses | None = None,
    coarse: bool = False,
) -> Dataset:
    """A data set of torchvision, downloaded into ``root`` if it is not there.

    Args:
        name: which one.
        root: the folder of its files.
        seed: of the draw of the validation samples.
        mean, std: of the pixels in [0, 1], by channel.
        validation: the fraction of the training part that is held out.
        crop, flip, rotation: augmentation, as in :class:`~unlearning.data.datasets.Dataset`.
        superclasses: maps names to lists of classes.
        coarse: label the samples by super-class.
    """
    parts = [fetched(name, Path(root), train) for train in (True, False)]
    inputs = torch.cat([torch.from_numpy(part.images) for part in parts])
    labels = torch.cat([torch.as_tensor(part.labels, dtype=torch.int64) for part in parts])
    first = len(parts[0].labels)
    train, val = hold_out(torch.arange(first), labels, validation, seed, "validation")
    fine = Dataset(
        name,
        inputs,
        labels,
        parts[0].classes,
        train,
        val,
        torch.arange(first, len(labels)),
        tuple(mean),
        tuple(std),
        crop,
        flip,
        rotation,
        superclasses,
    )
    return coarsened(fine) if coarse else fine


def fetched(name: Name, root: Path, train: bool) -> Part:
    """The training or the test part.

    Raises ``UserError`` where it is neither under ``root`` nor can be downloaded.
    """
    from torchvision import datasets

    source = SOURCES[name]
    which = {"split": "train" if train else "test"} if source.split else {"train": train}
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{name}.lock"):  # processes that start together download once
            raw = getattr(datasets, source.kind)(root, download=True, **which)
    except (OSError, RuntimeError) as error:  # no network, a refused download or a damaged archive
        raise UserError(
            f"{name} is not under {root} and could not be downloaded ({error}): put {' and '.join(source.files)} "
            "there, or set dataset.root",
            key="dataset.root",
            kind="file",
        ) from None
    classes = source.classes or tuple(n.split(" - ")[-1] for n in raw.classes)  # MNIST's are "0 - zero"
    return Part(channels_last(np.asarray(raw.data), source.axes), list(map(int, getattr(raw, source.labels))), classes)


def channels_last(images: np.ndarray, axes: str) -> np.ndarray:
    """Images with these axes as (N, H, W, C), contiguous."""
    if axes == "NHW":
        images = images[..., None]
    elif axes == "NCHW":
        images = images.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images)
