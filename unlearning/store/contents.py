"""The entries of the store, and the data sets that they were made of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ..engine.store import DATASETS, IMAGES

PIXELS = ".npy"


@dataclass(frozen=True)
class Item:
    """An entry of the store.

    Args:
        kind: ``images`` for decoded pixels, otherwise what ``engine.lab`` makes.
        path: of the file by which it is known.
        files: all its files, which are removed together.
        size: of these, in bytes.
        used: when it was written or last used as far as is known, in seconds since the epoch.
        folders: those of the data set that it was made of, as they were named at the time; none where that is unknown.
        data: the digest of the samples, of what was made of them; empty for pixels.
    """

    kind: str
    path: Path
    files: tuple[Path, ...]
    size: int
    used: float
    folders: tuple[str, ...]
    data: str = ""


def items(root: Path) -> list[Item]:
    """All entries of the store below ``root``, and the remains of entries that were never finished."""
    notes = {file.stem: read_note(file) for file in sorted((root / DATASETS).glob("*.json"))}
    return [*pixels(root / IMAGES), *made(root, notes)]


def pixels(folder: Path) -> Iterator[Item]:
    """The arrays of decoded pixels, whole or begun."""
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.glob("*")) + sorted(folder.glob(".*.tmp")):
        if file.suffix in (PIXELS, ".sha256", ".tmp"):  # the names stay as long as anything that was made of them
            found.setdefault(file.name.lstrip(".").partition(".")[0], []).append(file)
    for key, files in found.items():
        note = read_note(folder / f"{key}.json")
        yield item(IMAGES, folder / f"{key}{PIXELS}", files, tuple(note.get("folders", ())))


def made(root: Path, notes: dict[str, dict[str, Any]]) -> Iterator[Item]:
    """Models, predictions and whatever else is made of samples."""
    for file in sorted(root.glob("*/*.safetensors")):
        digest = samples(file)
        folders = tuple(notes.get(digest, {}).get("folders", ()))
        yield item(file.parent.name, file, [file, *sorted(file.parent.glob(f".{file.name}.*.tmp"))], folders, digest)
    begun: dict[Path, list[Path]] = {}
    for rest in sorted(root.glob("*/.*.safetensors.*.tmp")):
        whole = rest.with_name(rest.name[1:].partition(".safetensors")[0] + ".safetensors")
        if not whole.exists():
            begun.setdefault(whole, []).append(rest)
    for whole, rests in begun.items():  # a process was killed as it wrote them
        yield item(whole.parent.name, whole, rests, ())


def item(kind: str, path: Path, files: list[Path], folders: tuple[str, ...], data: str = "") -> Item:
    """An entry with the size and the age of its files."""
    stats = []
    for file in files:
        with suppress(FileNotFoundError):  # another process has just removed it
            stats.append(file.stat())
    used = max((stat.st_mtime for stat in stats), default=0.0)
    return Item(kind, path, tuple(files), sum(stat.st_size for stat in stats), used, folders, data)


def samples(file: Path) -> str:
    """The digest of the samples that an entry was made of; empty where it cannot be read."""
    try:
        with safe_open(file, framework="numpy") as opened:
            return str(json.loads((opened.metadata() or {})["key"])["data"]["samples"])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return ""


def read_note(file: Path) -> dict[str, Any]:
    """The content of a note about a data set; empty where there is none."""
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def arrays_of(root: Path, digest: str) -> tuple[str, ...]:
    """The names of the arrays that the samples of a digest came from."""
    return tuple(read_note(root / DATASETS / f"{digest}.json").get("arrays", ()))
