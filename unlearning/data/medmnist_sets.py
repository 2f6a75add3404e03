"""MedMNIST: small medical images of many kinds, from its ``.npz`` files, with or without its package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
import torch
from filelock import FileLock

from ..errors import UserError, nearest
from ..types import CountOrNone, Positive
from .datasets import Dataset, Degrees, Superclasses

PARTS = ("train", "val", "test")
LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)


def medmnist(
    flag: str,
    root: str,
    size: Literal[28, 64, 128, 224] = 28,
    channels: Literal[1, 3] | None = None,
    mean: Sequence[float] = (0.5,),
    std: Sequence[Positive] = (0.5,),
    crop: CountOrNone = 0,
    flip: bool = False,
    rotation: Degrees = 0.0,
    superclasses: Superclasses | None = None,
) -> Dataset:
    """A data set of MedMNIST (Yang et al., 2023, doi:10.1038/s41597-022-01721-8) with its own three parts.

    A file that is not under ``root`` is fetched by the package ``medmnist``, which also knows the names of the classes;
    where it is not installed they are numbers.

    Args:
        flag: the data set, such as ``pathmnist``: one of those with images in two dimensions and one label for each.
        root: the folder with ``<flag>.npz``, or ``<flag>_<size>.npz`` for sizes above 28; or the file itself.
        size: of the images, in pixels.
        channels: 1 for grey, 3 for RGB; what the file has where it is None.
        mean, std: of the pixels in [0, 1], by channel; or one number for all channels.
        crop, flip, rotation: augmentation, as in :class:`~unlearning.data.datasets.Dataset`.
        superclasses: maps names to lists of classes.

    Raises ``UserError`` if the file is missing and cannot be fetched, or if it has another form.
    """
    file = Path(root).expanduser()
    if not file.is_file():
        file = file / f"{flag}{'' if size == 28 else f'_{size}'}.npz"
        if not file.exists():
            fetch(flag, size, file)
    images, labels = zip(*(part_of(file, part) for part in PARTS), strict=True)
    inputs = torch.from_numpy(np.concatenate([with_channels(part, channels) for part in images]))
    numbers = torch.from_numpy(np.concatenate(labels))
    train, validation, test = torch.arange(len(numbers)).split([len(part) for part in labels])
    return Dataset(
        flag,
        inputs,
        numbers,
        class_names(flag, int(numbers.max()) + 1),
        train,
        validation,
        test,
        for_each(mean, inputs.shape[3]),
        for_each(std, inputs.shape[3]),
        crop,
        flip,
        rotation,
        superclasses,
        drawn_validation=False,
    )


def part_of(file: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """(N, H, W, C) uint8 images and (N,) int64 labels of one part of a file. Raises ``UserError`` for other arrays."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
    except (OSError, ValueError, KeyError, BadZipFile, EOFError) as error:
        raise UserError(
            f"{file} is not a file of MedMNIST ({error}): it must hold {part}_images and {part}_labels",
            key="dataset.root",
            kind="file",
        ) from None
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise UserError(
            f"{file} holds samples of type {images.dtype} and shape {images.shape[1:]}: flags with images in two "
            "dimensions are taken, and volumes are not",
            key="dataset.flag",
            kind="file",
        )
    if labels.size != len(images):
        raise UserError(
            f"{file} has labels of shape {labels.shape[1:]} for each image: flags with one label for each are taken",
            key="dataset.flag",
            kind="file",
        )
    return images, labels.reshape(-1).astype(np.int64)


def with_channels(images: np.ndarray, channels: int | None) -> np.ndarray:
    """(N, H, W, C) images as grey or RGB: grey three times over, or the luminance of the colours."""
    if channels is None or channels == images.shape[3]:
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=3)
    return np.rint(images @ np.array(LUMINANCE)).astype(np.uint8)[..., None]


def for_each(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """A statistic of each channel; one number stands for all."""
    return tuple(values) * (channels if len(values) == 1 else 1)


def known_sets() -> Mapping[str, Any]:
    """The package's entry for each flag; empty where ``medmnist`` is not installed."""
    try:
        from medmnist import INFO
    except ImportError:
        return {}
    return INFO


def class_names(flag: str, least: int) -> tuple[str, ...]:
    """The names of a flag's classes, or as many numbers as labels occur."""
    names: Mapping[str, str] = known_sets().get(flag, {}).get("label", {})
    return (
        tuple(names[str(number)] for number in range(len(names)))
        if len(names) >= least
        else tuple(map(str, range(least)))
    )


def fetch(flag: str, size: int, file: Path) -> None:
    """Let the package ``medmnist`` download a file. Raises ``UserError`` where it cannot."""
    sets = known_sets()
    if not sets:
        raise UserError(
            f"there is no {file}: put it there (it is at https://medmnist.com), set dataset.root=FILE.npz, or pip "
            "install medmnist, which fetches it",
            key="dataset.root",
            kind="file",
        )
    if flag not in sets:
        raise UserError(f"MedMNIST has no flag {flag!r}: {nearest(flag, sets)}", key="dataset.flag", kind="choice")
    import medmnist as package

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.parent / f".{file.stem}.lock"):  # processes that start together download once
            kind = getattr(package, sets[flag]["python_class"])
            kind(split="test", download=True, root=str(file.parent), size=size)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"{file} is missing and could not be downloaded ({' '.join(str(error).split())})",
            key="dataset.root",
            kind="file",
        ) from None
