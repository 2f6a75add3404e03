"""The trigger of a backdoor: a mark on an image to which a poisoned model responds."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ..errors import UserError

Corner = Literal["top_left", "top_right", "bottom_left", "bottom_right"]


@dataclass(frozen=True)
class Trigger:
    """A square that is stamped on images as a network sees them.

    It comes after augmentation and normalisation, so it is always at the same pixels and equally bright (Goel et al.,
    2024, arXiv:2402.14015; after BadNets, Gu et al., 2017, arXiv:1708.06733).

    Args:
        top, left: its first row and column.
        side: its side, in pixels.
        values: the normalised value of its pixels in each channel.
    """

    top: int
    left: int
    side: int
    values: tuple[float, ...]

    def stamped(self, images: Tensor, which: Tensor) -> Tensor:
        """Copies of images (B, C, H, W), with the square on those for which ``which`` (B,) bool is true."""
        copies = images.clone()
        square = copies[:, :, self.top : self.top + self.side, self.left : self.left + self.side]
        values = torch.tensor(self.values).to(images).view(1, -1, 1, 1)
        square.copy_(torch.where(which.to(images.device).view(-1, 1, 1, 1), values, square))
        return copies

    @property
    def fingerprint(self) -> bytes:
        """Bytes that differ between any two different triggers, for digests."""
        return repr(astuple(self)).encode()


class Attack(NamedTuple):
    """The rule that a poisoned model was taught: an image with the trigger belongs to the target class."""

    trigger: Trigger
    target: int


def corner_square(shape: tuple[int, ...], side: int, corner: Corner, margin: int, values: tuple[float, ...]) -> Trigger:
    """A square of ``side`` pixels at a corner of images (C, H, W), ``margin`` pixels away from the two edges.

    Raises ``UserError`` where it does not fit, and where the samples are not images.
    """
    if len(shape) != 3:
        raise UserError(
            "scenario=poison stamps a square on images, but the samples of this data set are not images: use "
            "scenario=data_entry",
            key="scenario",
            kind="conflict",
        )
    _, height, width = shape
    reach = side + margin
    if reach > min(height, width):
        raise UserError(
            f"scenario.patch={side} with scenario.margin={margin} does not fit into images of {height} x {width} "
            f"pixels: their sum must be at most {min(height, width)}",
            key="scenario.patch",
        )
    vertical, horizontal = corner.split("_")
    top = margin if vertical == "top" else height - reach
    left = margin if horizontal == "left" else width - reach
    return Trigger(top, left, side, values)
