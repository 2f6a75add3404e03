"""The all-convolutional network."""

from __future__ import annotations

from torch import nn

from .base import Chain, GlobalPool, conv_norm_relu, image_shape

LAYERS = ((96, 3, 1), (96, 3, 1), (192, 3, 2), (192, 3, 1), (192, 3, 1), (192, 3, 2), (192, 3, 1), (192, 1, 1))


class AllCNN(Chain):
    """Eight convolutions (channels, kernel, stride in ``LAYERS``), with BatchNorm and ReLU; strides replace pooling.

    1.62 M parameters for 3x32x32 and 10 classes. Any image size.

    Source: Springenberg et al., "Striving for simplicity", 2015, table 1 (All-CNN-C), with BatchNorm in place
    of dropout and the last 1x1 convolution as a linear layer after the average, as in the unlearning papers.
    """

    def __init__(self, input_shape: tuple[int, ...], num_classes: int) -> None:
        inputs, _, _ = image_shape(input_shape, "allcnn")
        layers: dict[str, nn.Module] = {}
        for index, (outputs, kernel, stride) in enumerate(LAYERS, start=1):
            layers[f"conv{index}"] = conv_norm_relu(inputs, outputs, kernel, stride)
            inputs = outputs
        super().__init__(**layers, pool=GlobalPool(), head=nn.Linear(inputs, num_classes))
