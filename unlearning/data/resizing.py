"""How an image of any size becomes a square."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from PIL.Image import Image

Fit = Literal["crop", "shortest", "stretch", "pad", "none"]
Interpolation = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
Reader = Literal["careful", "torchvision"]


class Preparation(NamedTuple):
    """What is done to each image before it is stored.

    Args:
        size: of the sides, in pixels.
        fit: ``crop`` cuts the largest square out of the centre and resizes it to ``size``; ``shortest`` brings the
            shorter side to ``shorter`` and cuts ``size`` x ``size`` out of the centre, as torchvision's ``Resize`` and
            ``CenterCrop`` do; ``stretch`` resizes both sides to ``size``; ``pad`` brings the longer side to ``size``
            and puts black beside the image, half on either side; ``none`` takes images that have that size.
        shorter: for ``shortest``, in pixels; ``size`` where it is None.
        interpolation: the filter, by Pillow's name, which reduces images without aliasing.
        channels: 3, or 1 for grey.
        reader: ``careful`` follows the rules of ``data.pixels``; ``torchvision`` reads what its ``ImageFolder`` does,
            which neither turns images as their cameras say nor sees transparency or more than 8 bits.
    """

    size: int
    fit: Fit = "crop"
    shorter: int | None = None
    interpolation: Interpolation = "bilinear"
    channels: int = 3
    reader: Reader = "careful"


class WrongSizeError(Exception):
    """An image of another size than all have, and that size."""


def squared(image: Image, how: Preparation) -> Image:
    """The image as a square. Raises ``WrongSizeError`` where ``none`` finds another size."""
    from PIL import Image as Pillow
    from PIL import ImageOps

    size, resample = (how.size, how.size), Pillow.Resampling[how.interpolation.upper()]
    if how.fit == "none":
        if image.size != size:
            raise WrongSizeError(f"{image.size[0]} x {image.size[1]}")
        return image
    if how.fit == "stretch":
        return image.resize(size, resample)
    if how.fit == "pad":
        return ImageOps.pad(image, size, resample)
    if how.fit == "crop":
        return ImageOps.fit(image, size, resample)
    wide, high = image.size
    short = how.shorter or how.size
    scaled = (short, int(short * high / wide)) if wide <= high else (int(short * wide / high), short)
    left, top = (round((side - how.size) / 2.0) for side in scaled)  # to even, as torchvision rounds
    return image.resize(scaled, resample).crop((left, top, left + how.size, top + how.size))
