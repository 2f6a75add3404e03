"""Residual networks for small images, and the parts that other residual networks share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch.nn.functional as F
from annotated_types import Ge, Lt, MinLen
from torch import Tensor, nn

from ..types import Count
from .base import Chain, GlobalPool, conv_norm, conv_norm_relu, he_initialise, image_shape

EXPANSION = {"basic": 1, "bottleneck": 4}  # output channels of a block for each of its inner channels


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
    """Option A of He et al.: every ``stride``-th pixel, with zero channels appended. It has no parameters."""

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

    Each stage has twice the width of the previous one at half the resolution. ``depths`` is the number of blocks in
    each stage: [2, 2, 2, 2] with width 64 is ResNet-18 (11.17 M parameters for 3x32x32 and 10 classes); [n, n, n] with
    width 16 and the parameter-free ``pad`` shortcut is the ResNet-(6n + 2) of the paper's CIFAR section (n = 3:
    0.27 M), which papers on sparsity and unlearning call ResNet20s, 44s and 56s.

    Source: He et al., "Deep residual learning for image recognition", 2016, table 1, sections 3.3 and 4.2.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        depths: Annotated[Sequence[Count], MinLen(1)],
        width: Count = 64,
        block: Literal["basic", "bottleneck"] = "basic",
        shortcut: Literal["projection", "pad"] = "projection",
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
    ) -> None:
        channels, _, _ = image_shape(input_shape, "resnet")
        layers: dict[str, nn.Module] = {"stem": conv_norm_relu(channels, width)}
        inputs = width
        for stage, depth in enumerate(depths):
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                inner, outputs = width * 2**stage, width * 2**stage * EXPANSION[block]
                branch = basic(inputs, inner, stride) if block == "basic" else bottleneck(inputs, inner, stride)
                skip = skip_connection(inputs, outputs, stride, shortcut)
                layers[f"stage{stage + 1}_{index + 1}"] = Residual(branch, skip, nn.ReLU())
                inputs = outputs
        layers["pool"] = GlobalPool()
        if dropout:  # of the features before the head, in training
            layers["dropout"] = nn.Dropout(dropout)
        super().__init__(**layers, head=nn.Linear(inputs, num_classes))
        he_initialise(self)


def basic(inputs: int, inner: int, stride: int) -> nn.Module:
    """The branch of a basic block: two 3x3 convolutions."""
    return nn.Sequential(*conv_norm_relu(inputs, inner, 3, stride), *conv_norm(inner, inner))


def bottleneck(inputs: int, inner: int, stride: int) -> nn.Module:
    """The branch of a bottleneck block: 1x1, 3x3 and 1x1 convolutions."""
    # The stride is in the 3x3 convolution, as in every later implementation.
    squeeze, middle = conv_norm_relu(inputs, inner, 1), conv_norm_relu(inner, inner, 3, stride)
    return nn.Sequential(*squeeze, *middle, *conv_norm(inner, EXPANSION["bottleneck"] * inner, 1))


def skip_connection(inputs: int, outputs: int, stride: int, shortcut: str) -> nn.Module:
    """The path around a branch, which only changes what it must: the number of channels and the resolution."""
    if inputs == outputs and stride == 1:
        return nn.Identity()
    return PadShortcut(outputs - inputs, stride) if shortcut == "pad" else conv_norm(inputs, outputs, 1, stride)
