"""The floor of a method: the sample passes that it makes, made again by a loop that does nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unlearning.runtime.cost import Meter


@dataclass
class Pass:
    """One batch that went through a network, and whether a gradient came back."""

    network: nn.Module
    shape: torch.Size
    training: list[bool]  # of each module: BatchNorm may be frozen while the rest trains
    to_inputs: bool  # the gradient is of the inputs (learned noise), not of the weights
    backward: bool = False


class Recorder(Meter):
    """A meter that also remembers every pass, so that they can be made again."""

    def __init__(self) -> None:
        super().__init__()
        self.passes: list[Pass] = []

    def watch(self, network: nn.Module) -> None:
        if network not in self._watched:
            network.register_forward_hook(self.remember)
        super().watch(network)

    def remember(self, network: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if not self._running:
            return
        training = [module.training for module in network.modules()]
        one = Pass(network, inputs[0].shape, training, inputs[0].requires_grad)
        self.passes.append(one)
        if output.requires_grad:
            output.register_hook(lambda _: setattr(one, "backward", True))


class Floor:
    """The recorded passes in a bare loop: the same networks, batch sizes and modes; no data, optimiser or records."""

    def __init__(self, passes: list[Pass]) -> None:
        self.passes = list(passes)
        for one in self.passes:
            one.network._forward_hooks.clear()  # neither the meter nor the recorder is part of the floor
        self.inputs = {shape: channels_last(torch.randn(shape)) for shape in {one.shape for one in passes}}

    @property
    def forward(self) -> int:
        """Samples that pass forward."""
        return sum(one.shape[0] for one in self.passes)

    @property
    def backward(self) -> int:
        """Samples whose gradient passes back."""
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
    """The layout in which small convolutions are fastest; features (B, F) stay as they are."""
    return images.contiguous(memory_format=torch.channels_last) if images.ndim == 4 else images
