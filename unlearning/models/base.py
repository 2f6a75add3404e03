"""What the backbones share: the chain of blocks, normalised convolutions, initialisation, checks of the input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from torch import Tensor, nn

from ..errors import UserError


class Chain(nn.Sequential):
    """A network whose children follow one another from input to head; the last child is the classifier's layer."""

    def __init__(self, **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)

    @property
    def blocks(self) -> list[nn.Module]:
        """The layers that last-k methods count (CF-k, EU-k): together they hold every parameter exactly once."""
        return group(self.children())


def group(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """The modules that have parameters, one a block, with containers opened.

    A normalisation, whose parameters are all vectors, joins the layer before it, which it normalises.
    """
    blocks: list[nn.Module] = []
    for module in _opened(modules):
        ranks = [parameter.ndim for parameter in module.parameters()]
        if blocks and ranks and max(ranks) <= 1:
            blocks[-1] = nn.Sequential(blocks[-1], module)
        elif ranks:
            blocks.append(module)
    return blocks


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """The blocks from input to head of any network: its own ``blocks``, else its children as :func:`group` has them."""
    return network.blocks if hasattr(network, "blocks") else group(network.children())


def _opened(modules: Iterable[nn.Module]) -> Iterator[nn.Module]:
    for module in modules:
        if type(module) in (nn.Sequential, nn.ModuleList):  # not their subclasses, which do something of their own
            yield from _opened(module.children())
        else:
            yield module


def batch_norms(network: nn.Module) -> list[nn.Module]:
    """The BatchNorm layers of a network: normalisation over a batch, with running statistics."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    return [module for module in network.modules() if isinstance(module, kinds)]


def image_shape(input_shape: tuple[int, ...], network: str, side: int = 1) -> tuple[int, int, int]:
    """(C, H, W) of one sample; a UserError where the samples are no images or are smaller than ``side`` pixels."""
    if len(input_shape) != 3:
        raise UserError(f"{network} takes images (C, H, W), but a sample has the shape {tuple(input_shape)}: use mlp")
    channels, height, width = input_shape
    if min(height, width) < side:
        raise UserError(f"{network} needs images of at least {side}x{side} pixels, these have {height}x{width}")
    return channels, height, width


def check_option(name: str, value: object, condition: bool, right: str) -> None:
    """A UserError that says what an architecture's option must be, unless the condition holds."""
    if not condition:
        raise UserError(f"model.{name}={value} does not work: {right}")


def conv_norm(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A padded convolution and BatchNorm; without bias, which the normalisation would take out again."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


def conv_norm_relu(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """As :func:`conv_norm`, then ReLU."""
    return conv_norm(inputs, outputs, kernel, stride).append(nn.ReLU())


class GlobalPool(nn.Module):
    """The mean or the maximum of every channel's map: (B, C, H, W) to (B, C).

    Written as a reduction, since the gradient of CUDA's adaptive maximum pooling is not deterministic.
    """

    def __init__(self, kind: Literal["mean", "max"] = "mean") -> None:
        super().__init__()
        self.kind = kind

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean((2, 3)) if self.kind == "mean" else maps.amax((2, 3))

    def extra_repr(self) -> str:
        return self.kind


def he_initialise(network: nn.Module) -> None:
    """Normal convolution weights of variance 2 / fan-out and zero biases (He et al., "Delving deep", 2015, eq. 14)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
