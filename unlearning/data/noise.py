"""Random perturbations of images."""

from typing import Literal

import torch
from torch import Tensor

Noise = Literal["gaussian", "uniform", "salt_and_pepper"]


def perturbed(images: Tensor, sigma: float, noise: Noise = "gaussian") -> Tensor:
    """The images (B, ...) with noise, inside the range of the batch.

    Gaussian noise adds ``sigma N(0, 1)`` to every value and uniform noise ``sigma U(-1, 1)``, and the sum is clamped to
    the range. Salt-and-pepper noise sets a fraction ``sigma`` of the values to one end of the range or the other.
    """
    low, high = images.min(), images.max()
    if noise == "salt_and_pepper":
        draw = torch.rand_like(images)
        return torch.where(draw < sigma / 2, low, torch.where(draw < sigma, high, images))
    drawn = torch.randn_like(images) if noise == "gaussian" else torch.rand_like(images).mul_(2).sub_(1)
    return drawn.mul_(sigma).add_(images).clamp_(low, high)
