"""The head of a network, its last layer with weights, and the features that enter it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from ..errors import UserError


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


@contextmanager
def heard(head: nn.Module, found: list[Tensor]) -> Iterator[None]:
    """Meanwhile, collect what enters the head, (B, D) for each call: of maps (B, D, H, W) the mean over positions."""

    def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].detach()
        maps = not isinstance(head, nn.Linear) and values.ndim > 2
        found.append(values.flatten(2).mean(2) if maps else values.flatten(1))

    handle = head.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


class WithFeatures(nn.Module):
    """A network whose outputs are its logits and, beside them, its features: (B, C + D).

    Args:
        network: maps (B, ...) to logits (B, C); put into eval mode.
        sample: inputs (B, ...) with which the head is found.

    Raises ``UserError`` for a network without a head.
    """

    def __init__(self, network: nn.Module, sample: Tensor) -> None:
        super().__init__()
        self.network = network.eval()
        head = head_of(network, sample)
        if head is None:
            raise UserError(
                "features are what enters a network's last linear or convolutional layer, and this network calls none: "
                "leave out the metrics that need features, as evaluation=default does",
                key="evaluation",
                kind="conflict",
            )
        self.head = [head]  # in a list, so that it is not a second module
        with torch.no_grad():
            self.outputs = self(sample).shape[1]

    def forward(self, images: Tensor) -> Tensor:
        found: list[Tensor] = []
        with heard(self.head[0], found):
            logits = self.network(images)
        return torch.cat([logits, found[-1]], 1)
