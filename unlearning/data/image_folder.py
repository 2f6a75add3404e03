"""Folders of the user's own images."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from ..errors import UserError
from ..types import Count, CountOrNone, Positive
from .class_order import class_order
from .datasets import Dataset, Degrees, Superclasses, hold_out
from .decoding import decoded, list_images, some_of
from .metadata import Metadata, joined
from .resizing import Fit, Interpolation, Preparation, Reader

log = logging.getLogger("unlearning")


def image_folder(
    name: str,
    root: str,
    cache: str,
    seed: int,
    size: Count,
    mean: Sequence[float],
    std: Sequence[Positive],
    validation: float = 0.1,
    test: float = 0.2,
    crop: CountOrNone = 0,
    flip: bool = False,
    rotation: Degrees = 0.0,
    limit: Count | None = None,
    superclasses: Superclasses | None = None,
    metadata: str | None = None,
    file_column: str = "file",
    fit: Fit = "crop",
    shorter: Count | None = None,
    interpolation: Interpolation = "bilinear",
    channels: Literal[1, 3] = 3,
    reader: Reader = "careful",
    classes: str | Sequence[str] | None = None,
) -> Dataset:
    """Your own images: ``root/train/<class>/*`` and ``root/test/<class>/*``, or just ``root/<class>/*``.

    Images in ``root/validation/<class>/*`` are the validation samples, if there are any; otherwise these are drawn from
    the training images. How files of each kind are read, and which are refused, is said in ``data.pixels``; what is
    left out of a class in ``data.decoding.list_images``.

    Args:
        name: a name for messages.
        root: the folder.
        cache: the folder in which the decoded images are kept; later runs map that file into memory.
        seed: of the draw of the validation and test samples.
        size: every image is decoded once, in parallel, to ``size`` x ``size`` pixels.
        fit, shorter, interpolation, channels, reader: as in :class:`~unlearning.data.resizing.Preparation`.
        classes: the order of the classes, as in ``data.class_order``.
        mean, std: of the pixels in [0, 1], by channel.
        validation: the fraction of the training images that is held out where there is no validation folder.
        test: the fraction of all images that is held out where there is no test folder.
        crop, flip, rotation: augmentation, as in :class:`~unlearning.data.datasets.Dataset`.
        limit: use only this number of images of each class, the first ones by name, in each part.
        superclasses: maps names to lists of folders.
        metadata: a CSV file with facts about the images, by which a scenario can select them; its rows and the images
            are matched by ``data.metadata.joined``.
        file_column: the column of that file with the images' names.

    Raises ``UserError`` where there are no such folders, or fewer than two of them hold images, and for ``shorter``
    where it has no effect or is less than ``size``.
    """
    if shorter is not None and (fit != "shortest" or shorter < size):
        raise UserError(
            f"dataset.shorter={shorter} is the shorter side of dataset.fit=shortest, before the centre of {size} x "
            f"{size} pixels is cut out: set dataset.fit=shortest and at least dataset.size, or leave it null",
            key="dataset.shorter",
            kind="conflict",
        )
    top = Path(root).expanduser()
    parts = [p for p in ("train", "validation", "test") if (top / p).is_dir()]
    if not top.is_dir() or (parts and parts[0] != "train"):
        raise UserError(
            f"no images under {top}: put them in {top}/train/<class>/ and {top}/test/<class>/, or just {top}/<class>/",
            key="dataset.root",
            kind="file",
        )
    table = None if metadata is None else Path(metadata).expanduser()
    if parts:
        beside = sorted(p.name for p in top.iterdir() if not p.name.startswith(".") and p.name not in parts)
        beside = [name for name in beside if top / name != table]
        if beside:
            log.warning("%s holds %s; all else is left out: %s", top, " and ".join(parts), some_of(Counter(beside)))
    listing = [list_images(top / p if parts else top, table) for p in parts or [""]]
    folders = sorted({c for rows in listing for c, _ in rows})
    if len(folders) < 2:
        raise UserError(
            f"{top} needs at least two class folders that hold images, and has {folders or 'none'}",
            key="dataset.root",
            kind="file",
        )
    if limit is not None:
        whole = sum(map(len, listing))
        listing = [first_of_each(part, limit) for part in listing]
        if left_out := whole - sum(map(len, listing)):
            log.warning("dataset.limit=%d leaves out %d of %d images below %s", limit, left_out, whole, top)
    rows = [row for part in listing for row in part]
    names = [file.relative_to(top).as_posix() for _, file in rows]
    facts = Metadata({"file": np.array(names, object)})
    if table is not None:
        facts = joined(table, file_column, names)
    how = Preparation(size, fit, shorter, interpolation, channels, reader)
    pixels = decoded([f for _, f in rows], top, how, Path(cache))
    facts = replace(facts, folder=top, array=Path(str(pixels.filename)).stem)
    order = class_order(folders, classes)
    numbers = {c: number for number, c in enumerate(order)}
    labels = torch.tensor([numbers[c] for c, _ in rows])
    own = dict(zip(parts or ["train"], torch.arange(len(rows)).split([len(part) for part in listing]), strict=True))
    rest, held = (own["train"], own["test"]) if "test" in own else hold_out(own["train"], labels, test, seed, "test")
    train, val = (
        (rest, own["validation"]) if "validation" in own else hold_out(rest, labels, validation, seed, "validation")
    )
    return Dataset(
        name,
        torch.from_numpy(pixels),
        labels,
        order,
        train,
        val,
        held,
        tuple(mean),
        tuple(std),
        crop,
        flip,
        rotation,
        superclasses,
        metadata=facts,
        drawn_validation="validation" not in own,
        drawn_test="test" not in own,
    )


def first_of_each(rows: Sequence[tuple[str, Path]], limit: int) -> list[tuple[str, Path]]:
    """The first rows of each class, at most ``limit``, in the order of the classes' names."""
    kept: dict[str, list[tuple[str, Path]]] = {}
    for row in rows:
        if len(found := kept.setdefault(row[0], [])) < limit:
            found.append(row)
    return [row for name in sorted(kept) for row in kept[name]]
