"""Residual networks for small images, and the parts that other residual networks share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from .base import Chain, GlobalPool, check_option, conv_norm, conv_norm_relu, he_initialise, image_shape

EXPANSION = {"basic": 1, "bottleneck": 4}  # channels a block puts out for each of its inner width


class Residual(nn.Module):
    """``activation(branch(x) + shortcut(x))``."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module, activation: nn.Module) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut
        self.activation = activation

    def forward(self, maps: Tensor) -> Tensor:
        return self.activation(self.branch(maps) + self.shortcut(maps))


class PadShortcut(nn.Module):
    """Option A of He et al.: every ``stride``-th pixel, with zero channels added; it has no parameters."""

    def __init__(self, extra: int, stride: int) -> None:
        super().__init__()
        self.extra = extra
        self.stride = stride

    def forward(self, maps: Tensor) -> Tensor:
        return F.pad(maps[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))

    def extra_repr(self) -> str:
        return f"extra={self.extra}, stride={self.stride}"


class ResNet(Chain):
    """ResNet with a 3x3 stem without max-pool, for any image size.

    A stage has twice the width of the one before it at half the resolution. ``depths`` counts its blocks:
    [2, 2, 2, 2] with width 64 is ResNet-18 (11.17 M parameters for 3x32x32 and 10 classes), [n, n, n] with width 16 and
    the parameter-free ``pad`` shortcut is the ResNet-(6n + 2) of the paper's CIFAR section (n = 3: 0.27 M).
    The names ResNet20s, 44s, 56s of sparsity and unlearning papers mean these latter ones.

    Source: He et al., "Deep residual learning for image recognition", 2016, table 1, sections 3.3 and 4.2.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        depths: Sequence[int],
        width: int = 64,
        block: Literal["basic", "bottleneck"] = "basic",
        shortcut: Literal["projection", "pad"] = "projection",
    ) -> None:
        check_option("block", block, block in EXPANSION, "it is basic or bottleneck")
        check_option("shortcut", shortcut, shortcut in ("projection", "pad"), "it is projection or pad")
        check_option("depths", depths, len(depths) > 0 and min(depths) > 0, "give every stage at least one block")
        check_option("width", width, width > 0, "it is at least 1")
        channels, _, _ = image_shape(input_shape, "resnet")
        layers: dict[str, nn.Module] = {"stem": conv_norm_relu(channels, width)}
        inputs = width
        for stage, depth in enumerate(depths):
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                inner, outputs = width * 2**stage, width * 2**stage * EXPANSION[block]
                branch = _basic(inputs, inner, stride) if block == "basic" else _bottleneck(inputs, inner, stride)
                skip = _skip(inputs, outputs, stride, shortcut)
                layers[f"stage{stage + 1}_{index + 1}"] = Residual(branch, skip, nn.ReLU())
                inputs = outputs
        super().__init__(**layers, pool=GlobalPool(), head=nn.Linear(inputs, num_classes))
        he_initialise(self)


def _basic(inputs: int, inner: int, stride: int) -> nn.Module:
    return nn.Sequential(*conv_norm_relu(inputs, inner, 3, stride), *conv_norm(inner, inner))


def _bottleneck(inputs: int, inner: int, stride: int) -> nn.Module:
    # the stride sits in the 3x3 convolution, as every later implementation has it
    squeeze, middle = conv_norm_relu(inputs, inner, 1), conv_norm_relu(inner, inner, 3, stride)
    return nn.Sequential(*squeeze, *middle, *conv_norm(inner, EXPANSION["bottleneck"] * inner, 1))


def _skip(inputs: int, outputs: int, stride: int, shortcut: str) -> nn.Module:
    if inputs == outputs and stride == 1:
        return nn.Identity()
    return PadShortcut(outputs - inputs, stride) if shortcut == "pad" else conv_norm(inputs, outputs, 1, stride)
