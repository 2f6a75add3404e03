"""Wide residual networks."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge
from torch import Tensor, nn

from ..errors import UserError
from ..types import Count
from .base import Chain, GlobalPool, he_initialise, image_shape


class PreActivation(nn.Module):
    """``skip + conv(relu(bn(conv(a))))`` with ``a = relu(bn(x))``.

    The skip is x itself, or a 1x1 convolution of a where the shape changes, with BatchNorm if ``shortcut_norm``.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, bias: bool = False, shortcut_norm: bool = False) -> None:
        super().__init__()
        self.activation = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU())
        self.branch = nn.Sequential(
            conv(inputs, outputs, 3, stride, bias),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            conv(outputs, outputs, 3, 1, bias),
        )
        self.projection: nn.Module | None = None
        if inputs != outputs or stride != 1:
            projection = conv(inputs, outputs, 1, stride, bias)
            self.projection = nn.Sequential(projection, nn.BatchNorm2d(outputs)) if shortcut_norm else projection

    def forward(self, maps: Tensor) -> Tensor:
        active = self.activation(maps)
        return self.branch(active) + (maps if self.projection is None else self.projection(active))


class WideResNet(Chain):
    """WRN-depth-width: three stages of 16, 32 and 64 times ``width`` channels, of (depth - 4) / 6 blocks each.

    WRN-28-10 has 36.5 M parameters for 3x32x32 and 10 classes. Any image size.

    Args:
        input_shape: (C, H, W) of one image.
        num_classes: the outputs of the head.
        depth, width: see above.
        bias, shortcut_norm, final_norm: whether convolutions have biases, and whether BatchNorm follows those of the
            shortcuts and the last block. The paper has the last alone; the network of the corrective benchmark (Goel et
            al., 2024) has the first two. The order of the layers in a block is the paper's in both.

    Source: Zagoruyko and Komodakis, "Wide residual networks", 2016, table 1 (without dropout).
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        depth: Annotated[int, Ge(10)] = 28,
        width: Count = 10,
        bias: bool = False,
        shortcut_norm: bool = False,
        final_norm: bool = True,
    ) -> None:
        if depth % 6 != 4:
            raise UserError(f"model.depth={depth} must be 6n + 4, such as 10, 16, 22, 28, 34 or 40", key="model.depth")
        channels, _, _ = image_shape(input_shape, "wideresnet")
        layers: dict[str, nn.Module] = {"stem": conv(channels, 16, 3, 1, bias)}
        inputs = 16
        for stage, outputs in enumerate((16 * width, 32 * width, 64 * width)):
            for index in range((depth - 4) // 6):
                stride = 2 if stage > 0 and index == 0 else 1
                layers[f"stage{stage + 1}_{index + 1}"] = PreActivation(inputs, outputs, stride, bias, shortcut_norm)
                inputs = outputs
        if final_norm:
            layers["norm"] = nn.BatchNorm2d(inputs)
        super().__init__(**layers, relu=nn.ReLU(), pool=GlobalPool(), head=nn.Linear(inputs, num_classes))
        he_initialise(self)


def conv(inputs: int, outputs: int, kernel: int, stride: int, bias: bool) -> nn.Conv2d:
    """A padded convolution."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=bias)
