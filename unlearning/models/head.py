"""The head of a network, its last layer with weights, and the features that enter it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from ..errors import UserError
from .base import blocks_of
from .ensemble import Ensemble


@torch.no_grad()
def head_of(network: nn.Module, sample: Tensor) -> nn.Module | None:
    """The last linear or convolutional layer that a network in eval mode calls for inputs ``sample`` (B, ...).

    The order of calls decides, not that of registration: a network may register its head first. None for a network that
    calls no such layer.
    """
    called: list[nn.Module] = []

    def hook(layer: nn.Module, _: tuple[Tensor, ...]) -> None:
        called.append(layer)

    with ExitStack() as hooks:
        for module in network.modules():
            if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
                hooks.callback(module.register_forward_pre_hook(hook).remove)
        network(sample)
    return called[-1] if called else None


def heads_of(network: nn.Module, sample: Tensor) -> list[nn.Module]:
    """The head of a network, or of each network of an ensemble; empty where one of them has none."""
    networks = network.members if isinstance(network, Ensemble) else [network]
    found = [head_of(one, sample) for one in networks]
    return [] if None in found else found  # type: ignore[return-value]


@contextmanager
def heard(heads: Sequence[nn.Module], found: list[Tensor]) -> Iterator[None]:
    """Meanwhile, collect what enters the heads, (B, D) for each call of the last one, those of all side by side.

    Of maps (B, D, H, W) it is the mean over positions.
    """
    parts: list[Tensor] = []

    def hook(head: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].detach()
        maps = not isinstance(head, nn.Linear) and values.ndim > 2
        parts.append(values.flatten(2).mean(2) if maps else values.flatten(1))
        if head is heads[-1]:
            found.append(torch.cat(parts, 1))
            parts.clear()

    with ExitStack() as hooks:
        for head in heads:
            hooks.callback(head.register_forward_pre_hook(hook).remove)
        yield


def layers_of(network: nn.Module) -> dict[str, nn.Module]:
    """The modules that end each block of a network, by their names in it, from input to head."""
    names = {module: name for name, module in network.named_modules()}
    found = {}
    for block in blocks_of(network):
        while block not in names:  # a layer that was put together with its normalisation
            block = list(block.children())[-1]
        found[names[block]] = block
    return found


@contextmanager
def listened(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Meanwhile, keep the last output of each layer that is called, as (B, D).

    Of maps it is the mean over positions. The channels of (B, T, D) are last, and so are those of (B, H, W, D), which
    is told from (B, D, H, W) by the size of the layer's last parameter.
    """
    found: dict[str, Tensor] = {}

    def hook(name: str, layer: nn.Module, output: Tensor) -> None:
        values = output.detach()
        *_, parameter = layer.parameters()
        last = values.ndim < 4 or parameter.shape[0] == values.shape[-1] != values.shape[1]
        maps = values if last else values.movedim(1, -1)
        found[name] = maps.flatten(1, -2).mean(1) if maps.ndim > 2 else maps.flatten(1)

    with ExitStack() as hooks:
        for name, layer in layers.items():
            handle = layer.register_forward_hook(lambda layer, _, output, name=name: hook(name, layer, output))
            hooks.callback(handle.remove)
        yield found


class WithFeatures(nn.Module):
    """A network whose outputs are its logits and, beside them, its features: (B, C + D), or more with ``layers``.

    Args:
        network: maps (B, ...) to logits (B, C); put into eval mode.
        sample: inputs (B, ...) with which the head is found.
        layers: whether to put the outputs of its blocks behind the features; ``widths`` then has their names and sizes.

    Raises ``UserError`` for a network without a head.
    """

    def __init__(self, network: nn.Module, sample: Tensor, layers: bool = False) -> None:
        super().__init__()
        self.network = network.eval()
        heads = heads_of(network, sample)
        if not heads:
            raise UserError(
                "features are what enters a network's last linear or convolutional layer, and this network calls none: "
                "leave out the metrics that need features, as evaluation=default does",
                key="evaluation",
                kind="conflict",
            )
        self.heads = heads  # a list, so that they are not modules a second time
        self.layers = layers_of(network) if layers else {}
        self.widths: dict[str, int] = {}  # of each layer that is called
        with torch.no_grad():
            self.outputs = self(sample).shape[1]

    def forward(self, images: Tensor) -> Tensor:
        found: list[Tensor] = []
        with heard(self.heads, found), listened(self.layers) as outputs:
            logits = self.network(images)
        self.widths = {name: outputs[name].shape[1] for name in self.layers if name in outputs}
        return torch.cat([logits, found[-1], *(outputs[name] for name in self.widths)], 1)
