"""Image folders, decoded once into one array on disk."""

from __future__ import annotations

import hashlib
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from filelock import FileLock

from ..errors import UserError
from ..runtime.digests import file_digest
from ..runtime.progress import DECODING

log = logging.getLogger("unlearning")

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff"}


def list_images(folder: Path) -> list[tuple[str, Path]]:
    """(class, file) of every image in ``folder/<class>/``, sorted."""
    found = []
    for entry in sorted(p for p in folder.iterdir() if p.is_dir()):
        files = sorted(Path(base, f) for base, _, names in os.walk(entry) for f in names)
        found += [(entry.name, f) for f in files if f.suffix.lower() in IMAGE_SUFFIXES]
    return found


def decoded(files: list[Path], top: Path, size: int, cache: Path) -> np.ndarray:
    """The pixels of ``files``, (N, size, size, 3) uint8, mapped from a file in ``cache``, which is made if necessary.

    The cache is keyed by the files' names below ``top``, their sizes in bytes and their modification times. An array
    whose checksum does not match is decoded again, with a warning. Processes that need the same array decode it once.

    Raises ``UserError`` where ``cache`` cannot be written, and for a file that is not an image.
    """
    listing = [(f.relative_to(top).as_posix(), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    key = hashlib.sha256(repr((size, listing)).encode()).hexdigest()
    array, checksum = cache / f"{key}.npy", cache / f"{key}.sha256"
    temporary = cache / f".{key}.tmp"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f"{key}.lock"):
            if not (array.exists() and checksum.exists() and checksum.read_text() == file_digest(array)):
                if array.exists():
                    log.warning("%s is corrupt (its checksum does not match): making it again", array)
                try:
                    decode_all(files, size, temporary)
                    checksum.write_text(file_digest(temporary))
                    os.replace(temporary, array)
                finally:
                    temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot write decoded images to {cache} ({error}): set paths.store=DIR", key="paths.store", kind="storage"
        ) from None
    return np.load(array, mmap_mode="c")  # copy on write: torch requires a writable array, and the file must not change


def decode_all(files: list[Path], size: int, path: Path) -> None:
    """Write the pixels of ``files`` to ``path`` as one array, with a progress bar."""
    from rich.progress import track

    out = np.lib.format.open_memmap(path, "w+", np.uint8, (len(files), size, size, 3))
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes outside Python's global lock
        images = pool.map(partial(decode, size), files)
        for row, image in enumerate(track(images, DECODING, total=len(files))):
            out[row] = image
    out.flush()


def decode(size: int, file: Path) -> np.ndarray:
    """One image as (size, size, 3) uint8: the shorter side resized to ``size``, then the centre cropped."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as image:
            return np.asarray(ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BILINEAR))
    except OSError as error:  # Pillow's error for a file that is not an image is an OSError, too
        raise UserError(
            f"{file} is not a readable image ({error}): replace or remove it", key="dataset.root", kind="file"
        ) from None
