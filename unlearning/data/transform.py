"""Turn stored samples into the inputs of a network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .datasets import Dataset


class Transform:
    """Stored samples (B, ...) to what a network sees, on whichever device the batch is.

    uint8 images (B, H, W, C) become normalised float images (B, C, H, W) in channels-last memory, augmented sample by
    sample where asked for. Float samples pass unchanged. Where the ``ids`` of the samples are given, those that carry
    the data set's trigger get it, after everything else.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset, self.triggered = dataset, dataset.triggered
        if dataset.has_pixels:
            mean, std = torch.tensor(dataset.mean), torch.tensor(dataset.std)
            self.scale, self.shift = 1 / (255 * std), -mean / std

    def __call__(self, samples: Tensor, augment: bool = False, ids: Tensor | None = None) -> Tensor:
        if self.dataset.has_pixels:
            samples = self.normalised(self.augmented(samples) if augment and self.dataset.augmented else samples)
        if self.dataset.trigger is None or self.triggered is None or ids is None:
            return samples
        self.triggered = self.triggered.to(ids.device)  # moved once: it stays there
        return self.dataset.trigger.stamped(samples, self.triggered[ids])

    def normalised(self, images: Tensor) -> Tensor:
        """uint8 images (B, H, W, C) as float images (B, C, H, W) of the data set's mean and standard deviation."""
        # One factor for each value of an image: with one for each channel, the inner loop would have three steps.
        scale, shift = (f.to(images.device).expand(images.shape[1:]).contiguous() for f in (self.scale, self.shift))
        return torch.addcmul(shift, images.float(), scale).permute(0, 3, 1, 2)

    def augmented(self, images: Tensor) -> Tensor:
        """Pad each image with zeros, crop it at a random offset, flip it at random, and rotate it by a random angle.

        Each image has its own draws. All is done in one gather; pixels that a rotation brings in from outside are zero.
        """
        b, h, w, c = images.shape
        device, p, rotation = images.device, self.dataset.crop, self.dataset.rotation
        padded = nn.functional.pad(images, (0, 0, p, p, p, p))
        top, left = torch.randint(0, 2 * p + 1, (2, b, 1, 1), device=device)
        flip = torch.rand(b, 1, 1, device=device) < (0.5 if self.dataset.flip else 0.0)
        rows, columns = torch.arange(h, device=device)[:, None], torch.arange(w, device=device)
        outside = None
        if rotation:
            degrees = (2 * torch.rand(b, 1, 1, device=device) - 1) * rotation
            rows, columns, outside = rotated(h, w, degrees)
        columns = torch.where(flip, w - 1 - columns, columns)
        image = torch.arange(b, device=device)[:, None, None]
        pixels = (image * (h + 2 * p) + rows + top) * (w + 2 * p) + columns + left
        images = padded.view(-1, c).index_select(0, pixels.view(-1)).view(b, h, w, c)
        return images if outside is None else images.masked_fill_(outside[..., None], 0)


def rotated(height: int, width: int, degrees: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The pixel that a rotation brings to each place: its row, its column, and whether it lies outside the image.

    Pixels outside are given as the nearest pixel of the edge.

    Args:
        height, width: of the image.
        degrees: (B, 1, 1), counter-clockwise about the centre.

    Returns:
        Three tensors (B, height, width).
    """
    angles = degrees.deg2rad()
    y = torch.arange(height, device=degrees.device)[:, None] - (height - 1) / 2
    x = torch.arange(width, device=degrees.device) - (width - 1) / 2
    rows = (angles.sin() * x + angles.cos() * y + (height - 1) / 2).round().long()
    columns = (angles.cos() * x - angles.sin() * y + (width - 1) / 2).round().long()
    inside = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    return *inside, (rows != inside[0]) | (columns != inside[1])
