"""The nine-layer residual network of the corrective-unlearning benchmarks."""

from __future__ import annotations

from torch import nn

from ..types import Count
from .base import Chain, GlobalPool, image_shape
from .resnet import Residual


class ResNet9(Chain):
    """Eight convolutions (two residual pairs), CELU(.075), global max-pool and a head without bias.

    With ``width`` 64: 64 -> 128 (5x5, stride 2) -> pair of 128 -> 256, max-pool -> pair of 256 -> 128 (no padding).
    Convolutions keep their biases although BatchNorm follows, as in the benchmark. Images must have at least 8x8
    pixels; below 12x12 the last convolution is padded, because its map is then smaller than its kernel.

    Source: the architecture of Goel et al., "Corrective machine unlearning", 2024.
    """

    def __init__(self, input_shape: tuple[int, ...], num_classes: int, width: Count = 64) -> None:
        channels, *sides = image_shape(input_shape, "resnet9", side=8)
        double, quadruple = 2 * width, 4 * width
        last_map = (min(sides) + 1) // 2 // 2  # after the stride and the max-pool
        super().__init__(
            conv1=conv(channels, width),
            conv2=conv(width, double, kernel=5, stride=2, padding=2),
            pair1=pair(double),
            conv3=conv(double, quadruple),
            shrink=nn.MaxPool2d(2),
            pair2=pair(quadruple),
            conv4=conv(quadruple, double, padding=0 if last_map >= 3 else 1),
            pool=GlobalPool("max"),
            head=nn.Linear(double, num_classes, bias=False),
        )


def pair(channels: int) -> Residual:
    """Two convolutions and an identity around them."""
    return Residual(nn.Sequential(conv(channels, channels), conv(channels, channels)), nn.Identity(), nn.Identity())


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, padding: int = 1) -> nn.Sequential:
    """A convolution, BatchNorm and CELU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.CELU(0.075))
