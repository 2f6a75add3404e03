"""How the gradients of a layer's parameters follow from its input and the gradient of its output, sample by sample.

Each rule takes a layer and its input, and returns a function of the gradient of the layer's output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from .sample_gradients import Convolutions, Patches, Products, SampleGradients, Summed

Rule = Callable[[Tensor], Iterator[SampleGradients]]


def has_rule(layer: nn.Module) -> bool:
    """Whether a rule covers the layer as it is set up, and the layer has a trainable parameter."""
    if type(layer) not in RULES or not any(p.requires_grad for p in layer.parameters()):
        return False  # a subclass may compute something else
    if isinstance(layer, nn.Conv2d):
        return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
        return not layer.training and layer.running_mean is not None
    return True


def linear(layer: nn.Linear, inputs: Tensor) -> Rule:
    """Rule of ``output = inputs @ weight.T + bias``, applied at one or more positions of a sample."""
    vectors = positions(inputs)

    def gradients(output: Tensor) -> Iterator[SampleGradients]:
        above = positions(output)
        yield Products(layer.weight, above, vectors)
        if layer.bias is not None:
            yield Summed(layer.bias, above.sum(1))

    return gradients


def convolution(layer: nn.Conv2d, inputs: Tensor) -> Rule:
    """Rule of a convolution: patches times a matrix, or a grouped convolution where that is faster or necessary."""
    plain = layer.groups == 1 and layer.dilation == (1, 1)
    vectors = patches(layer, inputs) if plain and not convolves_faster(layer, inputs) else None
    maps = inputs.contiguous() if vectors is None else inputs

    def gradients(output: Tensor) -> Iterator[SampleGradients]:
        if vectors is not None:
            yield Patches(layer.weight, output.permute(0, 2, 3, 1).flatten(1, 2), vectors)
        else:
            yield Convolutions(layer, output, maps)
        if layer.bias is not None:
            yield Summed(layer.bias, output.sum((2, 3)))

    return gradients


def convolves_faster(layer: nn.Conv2d, inputs: Tensor) -> bool:
    """Whether a grouped convolution beats the patch matrix product.

    It does on CPUs, for maps of at least 8 x 8 with enough channels to fill a vector register.
    """
    size = inputs.shape[2] * inputs.shape[3] // (layer.stride[0] * layer.stride[1])
    return inputs.device.type == "cpu" and size >= 64 and inputs.shape[1] >= 8


def patches(layer: nn.Conv2d, inputs: Tensor) -> Tensor:
    """The patches that a convolution sees at each of its L positions, (B, L, h w C)."""
    (height, width), padding = layer.kernel_size, layer.padding
    assert not isinstance(padding, str), "has_rule leaves such layers out"
    down, right = padding
    padded = F.pad(inputs, (right, right, down, down)).permute(0, 2, 3, 1)
    windows = padded.unfold(1, height, layer.stride[0]).unfold(2, width, layer.stride[1])  # (B, H', W', C, h, w)
    return windows.permute(0, 1, 2, 4, 5, 3).flatten(1, 2).flatten(2)  # channels last, so that whole pixels are copied


def batch_norm(layer: nn.BatchNorm1d | nn.BatchNorm2d, inputs: Tensor) -> Rule:
    """Rule of ``output = normalised * weight + bias`` for each channel, which is dimension 1."""
    normalised = F.batch_norm(inputs, layer.running_mean, layer.running_var, eps=layer.eps)

    def gradients(output: Tensor) -> Iterator[SampleGradients]:
        for parameter, values in ((layer.weight, output * normalised), (layer.bias, output)):
            yield Summed(parameter, values.reshape(*values.shape[:2], -1).sum(2))

    return gradients


RULES: dict[type[nn.Module], Callable[[Any, Tensor], Rule]] = {
    nn.Linear: linear,
    nn.Conv2d: convolution,
    nn.BatchNorm1d: batch_norm,
    nn.BatchNorm2d: batch_norm,
}


def positions(values: Tensor) -> Tensor:
    """Reshape (B, ..., F) to (B, L, F)."""
    return values[:, None] if values.ndim == 2 else values.flatten(1, -2)
