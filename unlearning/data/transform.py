"""From stored samples to what a network sees."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .datasets import Dataset


class Transform:
    """uint8 (B, H, W, C) to normalised float (B, C, H, W) in channels-last memory, augmented sample by sample.

    With the ``ids`` of the samples, those that carry the data set's trigger get it, last. Runs on whichever device the
    batch is on.
    """

    def __init__(self, dataset: Dataset) -> None:
        mean, std = torch.tensor(dataset.mean), torch.tensor(dataset.std)
        self.scale, self.shift = 1 / (255 * std), -mean / std
        self.crop, self.flip, self.rotation = dataset.crop, dataset.flip, dataset.rotation
        self.trigger, self.triggered = dataset.trigger, dataset.triggered

    def __call__(self, images: Tensor, augment: bool = False, ids: Tensor | None = None) -> Tensor:
        if images.dtype != torch.uint8:
            return images
        if augment and (self.crop or self.flip or self.rotation):
            images = self.augmented(images)
        # A factor for each value of an image: with one for each channel the inner loop would be three steps long.
        scale, shift = (f.to(images.device).expand(images.shape[1:]).contiguous() for f in (self.scale, self.shift))
        found = torch.addcmul(shift, images.float(), scale).permute(0, 3, 1, 2)
        if self.trigger is None or ids is None:
            return found
        self.triggered = self.triggered.to(ids.device)  # once, since it stays there
        return self.trigger.stamped(found, self.triggered[ids])

    def augmented(self, images: Tensor) -> Tensor:
        """Each image padded with zeros, cropped at its own offset, flipped by its own coin and turned by its own angle.

        All in one gather; pixels that a rotation brings in from outside are zero.
        """
        b, h, w, c = images.shape
        device, p = images.device, self.crop
        padded = nn.functional.pad(images, (0, 0, p, p, p, p))
        top, left = torch.randint(0, 2 * p + 1, (2, b, 1, 1), device=device)
        flip = torch.rand(b, 1, 1, device=device) < (0.5 if self.flip else 0.0)
        rows, columns = torch.arange(h, device=device)[:, None], torch.arange(w, device=device)
        outside = None
        if self.rotation:
            degrees = (2 * torch.rand(b, 1, 1, device=device) - 1) * self.rotation
            rows, columns, outside = rotated(h, w, degrees)
        columns = torch.where(flip, w - 1 - columns, columns)
        image = torch.arange(b, device=device)[:, None, None]
        pixels = (image * (h + 2 * p) + rows + top) * (w + 2 * p) + columns + left
        images = padded.view(-1, c).index_select(0, pixels.view(-1)).view(b, h, w, c)
        return images if outside is None else images.masked_fill_(outside[..., None], 0)


def rotated(height: int, width: int, degrees: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The nearest pixel that a rotation brings to each place: its row, its column, and whether it is outside.

    ``degrees`` (B, 1, 1) are counter-clockwise, about the centre; each result is (B, height, width), and what is
    outside is given as the nearest pixel of the edge.
    """
    angles = degrees.deg2rad()
    y = torch.arange(height, device=degrees.device)[:, None] - (height - 1) / 2
    x = torch.arange(width, device=degrees.device) - (width - 1) / 2
    rows = (angles.sin() * x + angles.cos() * y + (height - 1) / 2).round().long()
    columns = (angles.cos() * x - angles.sin() * y + (width - 1) / 2).round().long()
    inside = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    return *inside, (rows != inside[0]) | (columns != inside[1])
