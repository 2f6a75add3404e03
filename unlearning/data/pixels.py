"""Image files as RGB of 8 bits: the rule for each kind of file, and a refusal of what cannot be known.

* Images of 8 bits are taken as they are: grey, palette, RGB, CMYK. Of an animation the first frame is taken.
* Transparent images are laid on white.
* Images of 16 bits are divided by 257, so that 65,535 becomes 255. (The library that reads files does so by itself for
  colour images, by their upper 8 bits.)
* Floats and integers of 32 bits do not tell their range. If those of the whole data set lie in [0, 1], they are
  multiplied by 255; if they lie in [0, 255] and the largest is above 127, they are taken as they are. All others are
  refused.
* The orientation that a camera has noted (EXIF) is applied.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import UserError
from .resizing import Preparation, WrongSizeError, squared

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

log = logging.getLogger("unlearning")

PHOTOMETRIC, WHITE_IS_ZERO = 262, 0  # a tag of TIFF, and its value for images whose largest number is black
BITS = 258  # a tag of TIFF: bits in a sample
DARK = 4096  # of 65,536 levels: below it, an image of 16 bits may well be one of 12 or 8 bits
BRIGHT = 128  # of 256 levels: images that stay below it hardly use the range that is supposed
WIDE = "I;16"  # Pillow's mode for 16 bits
KINDS = {"F": "floats", "I": "integers"}  # its modes for 32 bits


class Levels(NamedTuple):
    """The numbers that an image of more than 8 bits uses."""

    file: Path
    mode: str  # WIDE, or a key of KINDS
    low: float
    high: float


Decoded = tuple[np.ndarray | None, Levels | None]


def decode(how: Preparation, file: Path, factors: Mapping[str, float] | None = None) -> Decoded:
    """One image as (size, size, channels) uint8.

    Args:
        how: what is done to it.
        file: is identified by its content rather than by its name.
        factors: see ``factors_for``.

    Returns:
        The pixels, and the levels of an image of more than 8 bits. There are no pixels where it takes a factor to make
        them that is not given.

    Raises ``UserError`` for a file that is not an image, a broken one, and one of another size where none is resized.
    """
    from PIL import Image

    levels = None
    try:
        with Image.open(file) as image:
            if how.reader == "torchvision":
                plain = image.convert("RGB")
                return stored(squared(grey(plain) if how.channels == 1 else plain, how), how.channels), None
            turn(image)
            if image.mode.startswith(WIDE) or (image.mode == "I" and image.format in ("PNG", "PPM")):
                values = wide(image)
                levels = Levels(file, WIDE, float(values.min()), float(values.max()))
                plain = Image.fromarray(values / 257)
            elif image.mode in KINDS:
                values = np.asarray(image)
                levels = Levels(file, image.mode, float(values.min()), float(values.max()))
                if factors is None:
                    return None, levels
                plain = Image.fromarray(blackened(image, values.astype(np.float32) * factors[image.mode], 255))
            else:
                plain = opaque(image)
            if how.channels == 1:
                plain = grey(plain)
        return stored(squared(plain, how), how.channels), levels
    except WrongSizeError as error:
        raise UserError(
            f"{file} has {error} pixels, and dataset.fit=none takes {how.size} x {how.size}: set dataset.size, or "
            "another dataset.fit",
            key="dataset.fit",
            kind="conflict",
        ) from None
    except Exception as error:  # Pillow raises errors of many types for broken files
        raise UserError(
            f"{file} is not a readable image ({error}): replace or remove it", key="dataset.root", kind="file"
        ) from None


def grey(image: Image) -> Image:
    """An image in shades of grey (ITU-R 601-2), as torchvision makes them."""
    return image if image.mode == "F" else image.convert("L")


def stored(image: Image, channels: int) -> np.ndarray:
    """(H, W, channels) uint8 pixels of an image; those of grey ones are repeated."""
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        pixels = np.repeat(np.rint(pixels).clip(0, 255).astype(np.uint8)[..., None], channels, axis=-1)
    return pixels


def turn(image: ImageFile) -> None:
    """Turn an image as its EXIF orientation says; broken EXIF data are passed over, as other programs do."""
    from PIL import ImageOps

    image.load()
    with suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)


def wide(image: ImageFile) -> np.ndarray:
    """(H, W) float32 levels, from 0 for black to 65,535 for white, of an image of 16 bits (or 12, in a TIFF)."""
    values = np.asarray(image).astype(np.float32)
    if tags(image).get(BITS) == (12,):
        values *= 65535 / 4095
    values = blackened(image, values, 65535)
    if isinstance(clear := image.info.get("transparency"), int):
        values[values == clear] = 65535
    return values


def blackened(image: ImageFile, values: np.ndarray, white: float) -> np.ndarray:
    """The numbers of an image such that 0 is black, whichever it is in the file."""
    return white - values if tags(image).get(PHOTOMETRIC) == WHITE_IS_ZERO else values


def tags(image: ImageFile) -> Mapping[int, Any]:
    """The tags of a TIFF; none of other files."""
    return getattr(image, "tag_v2", {})


def opaque(image: ImageFile) -> Image:
    """An image of 8 bits as RGB, on white where it is transparent."""
    from PIL import Image

    if not image.has_transparency_data:
        return image.convert("RGB")
    coloured = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured).convert("RGB")


def factors_for(levels: Iterable[Levels]) -> dict[str, float]:
    """What the images that do not tell their range are multiplied by, by mode: one factor for the whole data set.

    Raises ``UserError`` where the range cannot be known.
    """
    found: dict[str, float] = {}
    for mode, kind in KINDS.items():
        own = [one for one in levels if one.mode == mode]
        for one in own:
            if not (math.isfinite(one.low) and math.isfinite(one.high)):
                raise UserError(
                    f"{one.file} holds numbers that are not finite: replace or remove it",
                    key="dataset.root",
                    kind="file",
                )
        if not own:
            continue
        lowest, highest = min(own, key=lambda one: one.low), max(own, key=lambda one: one.high)
        low, high = lowest.low, highest.high
        if low < 0 or not (high <= 1 or BRIGHT <= high <= 255):
            raise UserError(
                f"{(lowest if low < 0 else highest).file} holds {kind} of 32 bits, and those of all images go from "
                f"{low:g} to {high:g}, so that black and white cannot be known: scale them to [0, 1] or [0, 255], or "
                "save the images with 8 or 16 bits",
                key="dataset.root",
                kind="file",
            )
        found[mode] = 255.0 if high <= 1 else 1.0
    return found


def warn_of_darkness(levels: Iterable[Levels]) -> None:
    """Warn where the images of 16 bits use a small part of their range only."""
    highest = [one.high for one in levels if one.mode == WIDE]
    if highest and max(highest) < DARK:
        log.warning(
            "the largest number in %d images of 16 bits is %.0f of 65,535, so that they look black: if they hold fewer "
            "bits, scale them to 16, or save them with 8",
            len(highest),
            max(highest),
        )
