"""The default network for small images such as scikit-learn's digits."""

from torch import nn

from .base import Chain, GlobalPool, conv_norm_relu, image_shape


class SmallCNN(Chain):
    """Three convolutions with BatchNorm and ReLU (32, 64, 64 channels), one max-pool, a linear head.

    56,554 parameters for digits (1x8x8, 10 classes). Images must have at least 4x4 pixels.
    """

    def __init__(self, input_shape: tuple[int, ...], num_classes: int) -> None:
        channels, _, _ = image_shape(input_shape, "small_cnn", side=4)
        super().__init__(
            block1=conv_norm_relu(channels, 32),
            block2=conv_norm_relu(32, 64),
            shrink=nn.MaxPool2d(2),
            block3=conv_norm_relu(64, 64),
            pool=GlobalPool(),
            head=nn.Linear(64, num_classes),
        )
