"""The floor of a method: its sample passes, recorded and repeated by a loop that does nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from unlearning.methods.base import Method


@dataclass
class Pass:
    """One batch that went forward through a network, and whether a gradient went back."""

    network: nn.Module
    shape: torch.Size
    training: list[bool]  # of each module: BatchNorm may be frozen while the rest trains
    to_inputs: bool  # the gradient is by the inputs (learned noise) instead of the weights
    backward: bool = False


@contextmanager
def recorded(method: Method) -> Iterator[list[Pass]]:
    """Collect every pass that the method's meter counts meanwhile."""
    passes: list[Pass] = []

    def record(network: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        meter = method.meter  # looked up at each pass: a one-shot method has another one for its edit
        if not (meter._running and network in meter._watched):
            return
        training = [module.training for module in network.modules()]
        one = Pass(network, inputs[0].shape, training, inputs[0].requires_grad)
        passes.append(one)
        if output.requires_grad:
            output.register_hook(lambda _: setattr(one, "backward", True))

    hook = register_module_forward_hook(record)
    try:
        yield passes
    finally:
        hook.remove()


class Floor:
    """The recorded passes in a bare loop: the same networks, batch sizes and modes, without data and optimiser."""

    def __init__(self, passes: list[Pass]) -> None:
        self.passes = list(passes)
        for one in self.passes:
            one.network._forward_hooks.clear()  # the meter is not part of the floor
        self.inputs = {shape: channels_last(torch.randn(shape)) for shape in {one.shape for one in passes}}

    @property
    def forward(self) -> int:
        """The number of samples that pass forward."""
        return sum(one.shape[0] for one in self.passes)

    @property
    def backward(self) -> int:
        """The number of samples whose gradient passes back."""
        return sum(one.shape[0] for one in self.passes if one.backward)

    def __call__(self) -> None:
        for one in self.passes:
            for module, training in zip(one.network.modules(), one.training, strict=True):
                module.training = training
            inputs = self.inputs[one.shape].detach().requires_grad_(one.to_inputs)
            with torch.set_grad_enabled(one.backward):
                output = one.network(inputs)
                if one.backward:
                    wanted = [inputs] if one.to_inputs else [p for p in one.network.parameters() if p.requires_grad]
                    torch.autograd.grad(output.square().mean(), wanted)


def channels_last(images: Tensor) -> Tensor:
    """The inputs in the memory layout in which small convolutions are fastest; features (B, F) are unchanged."""
    return images.contiguous(memory_format=torch.channels_last) if images.ndim == 4 else images
