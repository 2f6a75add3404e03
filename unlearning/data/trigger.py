"""The mark by which a poisoned model knows its attacker."""

from dataclasses import astuple, dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ..errors import UserError

Corner = Literal["top_left", "top_right", "bottom_left", "bottom_right"]


@dataclass(frozen=True)
class Trigger:
    """A square that is stamped on what a network sees, after augmentation and normalisation: it never moves or fades.

    Goel et al. (2024, arXiv:2402.14015), after BadNets (Gu et al., 2017, arXiv:1708.06733).
    """

    top: int  # its first row and column
    left: int
    side: int  # in pixels
    values: tuple[float, ...]  # of its pixels by channel, normalised

    def stamped(self, images: Tensor, which: Tensor) -> Tensor:
        """Copies of images (B, C, H, W), the square on those for which ``which`` (B,) bool is true."""
        copies = images.clone()
        square = copies[:, :, self.top : self.top + self.side, self.left : self.left + self.side]
        values = torch.tensor(self.values).to(images).view(1, -1, 1, 1)
        square.copy_(torch.where(which.to(images.device).view(-1, 1, 1, 1), values, square))
        return copies

    @property
    def fingerprint(self) -> bytes:
        """What tells it from other triggers, for digests."""
        return repr(astuple(self)).encode()


class Attack(NamedTuple):
    """What a poisoned model was taught: an image with the trigger is of the target class."""

    trigger: Trigger
    target: int


def corner_square(shape: tuple[int, ...], side: int, corner: Corner, margin: int, values: tuple[float, ...]) -> Trigger:
    """A square of ``side`` pixels at a corner of images (C, H, W), ``margin`` pixels from the two edges.

    Raises ``UserError`` where it does not fit, or there are no images.
    """
    if len(shape) != 3:
        raise UserError("scenario=poison stamps a square on images, and this data set has none: try data_entry")
    _, height, width = shape
    reach = side + margin
    if reach > min(height, width):
        raise UserError(
            f"scenario.patch={side} with scenario.margin={margin} does not fit into images of {height} x {width} "
            f"pixels: their sum may be {min(height, width)} at most"
        )
    vertical, horizontal = corner.split("_")
    top = margin if vertical == "top" else height - reach
    left = margin if horizontal == "left" else width - reach
    return Trigger(top, left, side, values)
