"""Wide residual networks."""

from __future__ import annotations

from torch import Tensor, nn

from .base import Chain, GlobalPool, check_option, he_initialise, image_shape


class PreActivation(nn.Module):
    """``skip + conv(relu(bn(conv(a))))``, ``a = relu(bn(x))``; skip is x, or a 1x1 convolution of a to a new shape."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.activation = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU())
        self.branch = nn.Sequential(
            _conv(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs), nn.ReLU(), _conv(outputs, outputs, 3, 1)
        )
        self.projection = _conv(inputs, outputs, 1, stride) if inputs != outputs or stride != 1 else None

    def forward(self, maps: Tensor) -> Tensor:
        active = self.activation(maps)
        return self.branch(active) + (maps if self.projection is None else self.projection(active))


class WideResNet(Chain):
    """WRN-depth-width: three stages of 16, 32 and 64 times ``width`` channels, of (depth - 4) / 6 blocks each.

    WRN-28-10 has 36.5 M parameters for 3x32x32 and 10 classes. Any image size.

    Source: Zagoruyko and Komodakis, "Wide residual networks", 2016, table 1 (without dropout).
    """

    def __init__(self, input_shape: tuple[int, ...], num_classes: int, depth: int = 28, width: int = 10) -> None:
        check_option("depth", depth, depth >= 10 and depth % 6 == 4, "it is 6n + 4, such as 10, 16, 22, 28, 34 or 40")
        check_option("width", width, width > 0, "it is at least 1")
        channels, _, _ = image_shape(input_shape, "wideresnet")
        layers: dict[str, nn.Module] = {"stem": _conv(channels, 16, 3, 1)}
        inputs = 16
        for stage, outputs in enumerate((16 * width, 32 * width, 64 * width)):
            for index in range((depth - 4) // 6):
                stride = 2 if stage > 0 and index == 0 else 1
                layers[f"stage{stage + 1}_{index + 1}"] = PreActivation(inputs, outputs, stride)
                inputs = outputs
        end = {"norm": nn.BatchNorm2d(inputs), "relu": nn.ReLU(), "pool": GlobalPool()}
        super().__init__(**layers, **end, head=nn.Linear(inputs, num_classes))
        he_initialise(self)


def _conv(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
