"""VGG networks for small and large images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from annotated_types import MaxLen, MinLen
from torch import nn

from ..types import Count, Probability
from .base import Chain, he_initialise, image_shape

WIDTHS = (64, 128, 256, 512, 512)


class VGG(Chain):
    """Stages of 3x3 convolutions (64, 128, 256, 512, 512 channels), then a multilayer perceptron.

    A stage ends with a 2x2 max-pool as long as the map stays at least ``side`` wide, so small images work too. The
    perceptron, with ``hidden`` layers, reads the map averaged to ``side`` x ``side``:

    * side 1, hidden []: the usual form for CIFAR, 512 -> C (14.7 M parameters for 10 classes);
    * side 2, hidden [256, 256]: 2048 -> 256 -> 256 -> C, as in the benchmarks on sparse unlearning;
    * side 7, hidden [4096, 4096], dropout .5: the paper's, for 224x224 (138.4 M parameters for 1000 classes).

    ``depths`` is the number of convolutions in each stage: [2, 2, 3, 3, 3] is VGG16 (configuration D), [1, 1, 2, 2, 2]
    is VGG11.

    Source: Simonyan and Zisserman, "Very deep convolutional networks", 2015, table 1.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        depths: Annotated[Sequence[Count], MinLen(1), MaxLen(len(WIDTHS))] = (2, 2, 3, 3, 3),
        norm: bool = False,
        side: Count = 1,
        hidden: Sequence[Count] = (),
        dropout: Probability = 0.0,
    ) -> None:
        inputs, height, width = image_shape(input_shape, "vgg", side)
        map_side = min(height, width)
        layers: dict[str, nn.Module] = {}
        for stage, (depth, outputs) in enumerate(zip(depths, WIDTHS, strict=False), start=1):
            for index in range(1, depth + 1):
                convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=not norm)
                middle = [nn.BatchNorm2d(outputs)] if norm else []
                layers[f"conv{stage}_{index}"] = nn.Sequential(convolution, *middle, nn.ReLU())
                inputs = outputs
            if map_side // 2 >= side:
                layers[f"shrink{stage}"] = nn.MaxPool2d(2)
                map_side //= 2
        layers["pool"] = nn.Sequential(nn.AdaptiveAvgPool2d(side), nn.Flatten())
        inputs *= side * side
        for index, outputs in enumerate(hidden, start=1):
            layers[f"hidden{index}"] = nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(dropout))
            inputs = outputs
        super().__init__(**layers, head=nn.Linear(inputs, num_classes))
        he_initialise(self)
