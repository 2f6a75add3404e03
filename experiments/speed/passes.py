"""The floor of a method: the sample passes that it makes, made again by a loop that does nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unlearning.cost import Meter


@dataclass
class Pass:
    """One batch that went through a network, and whether a gradient came back."""

    network: nn.Module
    shape: torch.Size
    modes: list[bool]  # training mode of each module: BatchNorm may be frozen while the rest trains
    backward: bool = False


class Recorder(Meter):
    """A meter that also remembers every pass, so that they can be made again."""

    def __init__(self) -> None:
        super().__init__()
        self.passes: list[Pass] = []

    def _count(self, network: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        super()._count(network, inputs, output)
        one = Pass(network, inputs[0].shape, [m.training for m in network.modules()])
        self.passes.append(one)
        if output.requires_grad:
            output.register_hook(lambda _: setattr(one, "backward", True))


class Floor:
    """The recorded passes in a bare loop: the same networks, batch sizes and modes; no data, optimiser or records."""

    def __init__(self, passes: list[Pass]) -> None:
        self.passes = passes
        shapes = {one.shape for one in passes}
        self.inputs = {s: self.channels_last(torch.randn(s)) for s in shapes}

    @staticmethod
    def channels_last(images: Tensor) -> Tensor:
        return images.contiguous(memory_format=torch.channels_last) if images.ndim == 4 else images

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
            with modes(one.network, one.modes), torch.set_grad_enabled(one.backward):
                output = one.network(self.inputs[one.shape])
                if one.backward:
                    parameters = [p for p in one.network.parameters() if p.requires_grad]
                    torch.autograd.grad(output.square().mean(), parameters)


@contextlib.contextmanager
def modes(network: nn.Module, wanted: list[bool]) -> Iterator[None]:
    """Put each module of a network in its recorded mode."""
    for module, mode in zip(network.modules(), wanted, strict=True):
        module.training = mode
    yield
