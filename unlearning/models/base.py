"""The parts that the backbones share: a chain of blocks, normalised convolutions, initialisation, input checks."""

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
        """The layers that methods on the last k layers count (CF-k, EU-k); together they hold every parameter once."""
        return group(self.children())


def group(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """The modules that have parameters, one per block; containers are opened.

    A normalisation layer, whose parameters are all vectors, joins the layer before it, which it normalises.
    """
    blocks: list[nn.Module] = []
    for module in opened(modules):
        ranks = [parameter.ndim for parameter in module.parameters()]
        if blocks and ranks and max(ranks) <= 1:
            blocks[-1] = nn.Sequential(blocks[-1], module)
        elif ranks:
            blocks.append(module)
    return blocks


def library_blocks(network: nn.Module) -> list[nn.Module]:
    """The blocks of a library's network; its loose parameters, such as tokens and positions, belong to the first."""
    first, *rest = group(network.children())
    loose = nn.ParameterList(network.parameters(recurse=False))
    return [nn.ModuleList([loose, first]) if len(loose) else first, *rest]


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """The blocks of any network, from input to head.

    These are its own ``blocks`` if it has them, and otherwise its children as :func:`group` forms them.
    """
    own: list[nn.Module] | None = getattr(network, "blocks", None)
    return group(network.children()) if own is None else own


def opened(modules: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """The modules, with plain containers replaced by their children."""
    for module in modules:
        if type(module) in (nn.Sequential, nn.ModuleList):  # subclasses may compute something else
            yield from opened(module.children())
        else:
            yield module


def batch_norms(network: nn.Module) -> list[nn.Module]:
    """The BatchNorm layers of a network, which normalise over a batch and keep running statistics."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    return [module for module in network.modules() if isinstance(module, kinds)]


def image_shape(input_shape: tuple[int, ...], network: str, side: int = 1) -> tuple[int, int, int]:
    """(C, H, W) of one sample.

    Raises ``UserError`` where the samples are not images or have fewer than ``side`` pixels in a direction.
    """
    if len(input_shape) != 3:
        raise UserError(
            f"{network} takes images (C, H, W), but a sample has the shape {tuple(input_shape)}: use model=mlp",
            key="model",
            kind="conflict",
        )
    channels, height, width = input_shape
    if min(height, width) < side:
        raise UserError(
            f"{network} needs images of at least {side}x{side} pixels, but these have {height}x{width}",
            key="model",
            kind="conflict",
        )
    return channels, height, width


def conv_norm(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A padded convolution and BatchNorm; without bias, which the normalisation would remove again."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


def conv_norm_relu(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A padded convolution, BatchNorm and ReLU."""
    return conv_norm(inputs, outputs, kernel, stride).append(nn.ReLU())


class GlobalPool(nn.Module):
    """The mean or the maximum of every channel's map: (B, C, H, W) to (B, C).

    This is written as a reduction, because the gradient of CUDA's adaptive maximum pooling is not deterministic.
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
