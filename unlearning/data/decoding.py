"""Image folders, decoded once into one array on disk."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from ..errors import UserError
from ..runtime.digests import file_digest
from ..runtime.files import files_below
from ..runtime.progress import DECODING
from . import pixels, resizing
from .resizing import Preparation

log = logging.getLogger("unlearning")

IMAGE_SUFFIXES = {
    *(".bmp", ".dib", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm"),
    *(".tif", ".tiff", ".webp"),
}
NAMED = 5  # of what is left out
LISTED = 20  # of the files that are refused


def list_images(folder: Path, beside: Path | None = None) -> list[tuple[str, Path]]:
    """(class, file) of every image in ``folder/<class>/`` and in the folders below, sorted.

    Links are followed. Hidden files and folders are neither classes nor images. What else is left out is told in a
    warning: files that are not images by their names, images that lie in no class, and classes without images; but not
    the file ``beside`` them.
    """
    found: list[tuple[str, Path]] = []
    others: list[str] = []
    empty: list[str] = []
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith(".") and entry != beside)
    for entry in entries:
        if not entry.is_dir():
            others.append(entry.name)
            continue
        files = files_below(entry, hidden=False)[0]
        images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
        found += [(entry.name, file) for file in images]
        others += [file.name for file in files if file.suffix.lower() not in IMAGE_SUFFIXES]
        empty += [entry.name] * (not images)
    if others:
        suffixes = Counter(Path(name).suffix.lower() or name for name in others)
        log.warning("Left out below %s, as no image of a class: %s", folder, some_of(suffixes))
    if empty:
        log.warning("No class below %s, as without images: %s", folder, some_of(Counter(empty)))
    return found


def some_of(counts: Counter[str]) -> str:
    """The most frequent of some words, with the number of each where it is above 1."""
    words = [f"{word} ({count})" if count > 1 else word for word, count in counts.most_common(NAMED)]
    return ", ".join(words) + (", ..." if len(counts) > NAMED else "")


def decoded(files: Sequence[Path], top: Path, how: Preparation, cache: Path) -> np.memmap[Any, Any]:
    """The pixels of ``files``, (N, size, size, channels) uint8, mapped from a file in ``cache``.

    The file is made if necessary.

    The cache is keyed by the names of the files below ``top``, their sizes in bytes and the times of their changes, and
    by the rules of decoding. An array whose checksum does not match is decoded again, with a warning. Processes that
    need the same array decode it once. Beside it stands of which folder and which files it is.

    Raises ``UserError`` where ``cache`` cannot be written, and for all files at once that are not images.
    """
    check_files(files)
    key = hashlib.sha256(repr((rules(), how, [stamp(file, top) for file in files])).encode()).hexdigest()
    array, checksum = cache / f"{key}.npy", cache / f"{key}.sha256"
    temporary = cache / f".{key}.tmp"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f"{key}.lock"):
            note(cache / f"{key}.json", files, top)  # first, so that what a killed process leaves is known, too
            if not (array.exists() and checksum.exists() and checksum.read_text() == f"{key} {file_digest(array)}"):
                if array.exists():
                    log.warning("%s is corrupt (its checksum does not match): making it again", array)
                try:
                    decode_all(files, how, temporary)
                    checksum.write_text(f"{key} {file_digest(temporary)}")  # whose array it is, besides what is in it
                    os.replace(temporary, array)
                finally:
                    temporary.unlink(missing_ok=True)
            else:
                with suppress(OSError):
                    os.utime(array)  # as engine.store does
    except OSError as error:
        raise UserError(
            f"cannot write decoded images to {cache} ({error}): set paths.store=DIR", key="paths.store", kind="storage"
        ) from None
    found: np.memmap[Any, Any] = np.load(array, mmap_mode="c")
    return found  # copy on write: torch requires a writable array, and the file must not change


def note(file: Path, files: Sequence[Path], top: Path) -> None:
    """Write to ``file`` of which folder and which files below it an array of pixels is, so that it can be purged."""
    try:
        known = json.loads(file.read_text())
    except (OSError, ValueError):
        known = {"folders": [], "files": [path.relative_to(top).as_posix() for path in files]}
    folders = list(dict.fromkeys([*known["folders"], *places(top)]))
    if folders != known["folders"]:
        file.write_text(json.dumps(known | {"folders": folders}))


def places(top: Path) -> list[str]:
    """The paths of a folder: as it is named, and without links."""
    return list(dict.fromkeys([str(top.absolute()), str(top.resolve())]))


def rules() -> tuple[str, str]:
    """What decides how files are decoded: the code that does so, and the version of the library that reads them."""
    return "+".join(file_digest(Path(str(module.__file__))) for module in (pixels, resizing)), version("pillow")


def check_files(files: Sequence[Path]) -> None:
    """Raise ``UserError`` for links to nothing, and for pipes and the like, which reading would wait for."""
    wrong: list[tuple[Path, str]] = []
    for file in files:
        try:
            if not stat.S_ISREG(mode := file.stat().st_mode):
                wrong.append((file, stat.filemode(mode)))
        except OSError as error:
            wrong.append((file, error.strerror or str(error)))
    if wrong:
        names, more = ", ".join(f"{file} ({why})" for file, why in wrong[:LISTED]), len(wrong) - LISTED
        raise UserError(
            f"{names}{f' and {more} more' if more > 0 else ''} cannot be read: replace or remove what is named",
            key="dataset.root",
            kind="file",
        )


def stamp(file: Path, top: Path) -> tuple[str, int, int, int]:
    """The name of a file below ``top``, its size in bytes, and when its content and its entry were changed.

    An archive can give two files the same time; where they are exchanged, only their entries change.
    """
    status = file.stat()
    return file.relative_to(top).as_posix(), status.st_size, status.st_mtime_ns, status.st_ctime_ns


def decode_all(files: Sequence[Path], how: Preparation, path: Path) -> None:
    """Write the pixels of ``files`` to ``path`` as one array, with a progress bar.

    Raises ``UserError`` for all files at once that are not images.
    """
    from rich.progress import track

    def attempt(file: Path) -> pixels.Decoded | UserError:
        try:
            return pixels.decode(how, file)
        except UserError as error:
            return error

    wrong: list[tuple[Path, UserError]] = []
    out = np.lib.format.open_memmap(path, "w+", np.uint8, (len(files), how.size, how.size, how.channels))
    known: dict[int, pixels.Levels] = {}  # of the images of more than 8 bits, by row
    waiting = []  # rows of images whose range only all of them together show
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes outside Python's global lock
        images = pool.map(attempt, files)
        for row, found in enumerate(track(images, DECODING, total=len(files))):
            if isinstance(found, UserError):
                wrong.append((files[row], found))
                continue
            image, levels = found
            if levels is not None:
                known[row] = levels
            if image is None:
                waiting.append(row)
            else:
                out[row] = image
        refuse(wrong)
        again = partial(pixels.decode, how, factors=pixels.factors_for(known.values()))
        for row, (image, _) in zip(waiting, pool.map(again, [files[row] for row in waiting]), strict=True):
            out[row] = image
    pixels.warn_of_darkness(known.values())
    out.flush()


def refuse(wrong: Sequence[tuple[Path, UserError]]) -> None:
    """Raise ``UserError`` for the files that could not be used, each with its own error; the first one's is told."""
    if not wrong:
        return
    error = wrong[0][1]
    if len(wrong) == 1:
        raise error
    names, more = ", ".join(str(file) for file, _ in wrong[:LISTED]), len(wrong) - LISTED
    raise UserError(
        f"{len(wrong)} images cannot be used: {names}{f' and {more} more' if more > 0 else ''}; the first: {error}",
        key=error.key,
        kind=error.kind,
    )
