"""Which entries of the store are removed: those of a data set, those that hold listed files, old ones, the surplus."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from ..data.metadata import Metadata
from ..engine.store import DATASETS, IMAGES
from ..errors import UserError
from ..records.names import FAILED, GALLERY, LOG, RESULTS
from ..scenarios.entries import Entry
from ..scenarios.matching import by_file
from .contents import Item, arrays_of, read_note, samples


def of_dataset(found: Iterable[Item], folder: Path) -> list[Item]:
    """The entries that were made of the images in ``folder``, or in a folder around it, of which it is a part."""
    wanted = os.path.realpath(folder.expanduser())
    return [item for item in found if any(os.path.commonpath([wanted, known]) == known for known in item.folders)]


def with_files(found: Sequence[Item], entries: Sequence[Entry], root: Path) -> tuple[list[Item], list[Entry]]:
    """The entries of the store in which any of the listed files is, and the listed files that are in none.

    Pixels are there together with all of their data set, so the whole array counts, and with it all that was made of
    its samples. Entries of a list are matched as by ``scenario=list``; one that several images could be meant by counts
    for all of them.
    """
    held: set[str] = set()
    unknown = set(entries)
    for file in sorted((root / IMAGES).glob("*.json")):  # which outlive the pixels
        note = read_note(file)
        facts = Metadata({"file": np.array(note.get("files", ()), object)})
        for folder in note.get("folders", ()):
            find = by_file(facts, Path(folder), 0, strict=True)
            for entry in entries:
                try:
                    there = bool(find(entry))
                except UserError:  # of several images
                    there = True
                if there:
                    held.add(file.stem)
                    unknown.discard(entry)
    chosen = [
        item
        for item in found
        if (item.path.stem in held if item.kind == IMAGES else held.intersection(arrays_of(root, item.data)))
    ]
    return chosen, [entry for entry in entries if entry in unknown]


def of_run(folder: Path) -> list[Path]:
    """The files of a run that show images or may name them: the gallery, the log, and the reason of a failure.

    Raises ``UserError`` for a folder that is not a run's.
    """
    if not any((folder / name).is_file() for name in (RESULTS, FAILED, LOG)):
        raise UserError(f"{folder} is not the folder of a run: it has no {RESULTS}", kind="file")
    return [folder / name for name in (GALLERY, LOG, FAILED) if (folder / name).is_file()]


def older(found: Iterable[Item], days: float, now: float) -> list[Item]:
    """The entries that were not used for so many days."""
    return [item for item in found if now - item.used > days * 86400]


def surplus(found: Iterable[Item], size: float) -> list[Item]:
    """The entries that were not used for the longest time, without which the others have at most ``size`` bytes."""
    newest, total, dropped = sorted(found, key=lambda item: -item.used), 0, []
    for item in newest:
        total += item.size
        if total > size:
            dropped.append(item)
    return dropped


def remove(chosen: Iterable[Item], root: Path) -> list[Item]:
    """Remove entries, and the notes about data sets of which nothing is left; returns those that are in use.

    The names of a data set's files stay until all that was made of it is gone: without them the rest is not found.
    """
    busy = []
    for item in chosen:
        lock = item.path.with_suffix(".lock") if item.kind == IMAGES else item.path.with_name(f".{item.path.name}.lock")
        try:
            with FileLock(lock, timeout=0):
                for file in item.files:
                    file.unlink(missing_ok=True)
        except Timeout:
            busy.append(item)
    forget(root)
    return busy


def forget(root: Path) -> None:
    """Remove the notes about data sets of which the store has nothing, and about pixels that nothing is left of."""
    left = {samples(file) for file in root.glob("*/*.safetensors")}
    arrays = {file.stem for file in (root / IMAGES).glob("*.npy")}
    arrays |= {file.stem.lstrip(".") for file in (root / IMAGES).glob(".*.tmp")}
    needed = set(arrays)
    for note in sorted((root / DATASETS).glob("*.json")):
        own = arrays_of(root, note.stem)
        if note.stem in left or arrays.intersection(own):
            needed.update(own)
        else:
            with suppress(OSError):
                note.unlink()
    for file in sorted((root / IMAGES).glob("*.json")):
        if file.stem not in needed:
            with (
                suppress(OSError),
                FileLock(file.with_suffix(".lock"), timeout=0),
            ):  # unless a run decodes now
                if not file.with_suffix(".npy").exists():
                    file.unlink()
