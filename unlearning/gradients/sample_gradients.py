"""The gradients of a batch of samples with respect to one parameter, formed only when they are asked for."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
from torch import Tensor, nn

CPU_BLOCK, DEVICE_BLOCK = 2**19, 2**26  # elements formed at a time: what fits a CPU cache, and what fills a GPU


class SampleGradients:
    """The gradients of B samples with respect to one parameter.

    Args:
        parameter: the parameter.
        output: (B, ...) the gradient of the output of the layer that the parameter belongs to.
    """

    def __init__(self, parameter: Tensor, output: Tensor) -> None:
        self.parameter, self.output = parameter, output

    def each(self) -> Tensor:
        """Every sample's gradient, (B, *parameter.shape)."""
        return self.shaped(self.formed(0, len(self.output)))

    def sum_of_squares(self) -> Tensor:
        """The squares of the samples' gradients, summed over the samples, (*parameter.shape)."""
        return self.shaped(functools.reduce(torch.add, (block.square_().sum(0) for block in self.blocks())))

    def sum_of_sizes(self) -> Tensor:
        """The absolute values of the samples' gradients, summed over the samples, (*parameter.shape)."""
        return self.shaped(functools.reduce(torch.add, (block.abs_().sum(0) for block in self.blocks())))

    def products(self, vectors: Tensor) -> Tensor:
        """The inner product of every sample's gradient with each of K ``vectors`` (K, *parameter.shape): (B, K)."""
        return torch.cat([self.shaped(block).flatten(1) @ vectors.flatten(1).T for block in self.blocks()])

    def blocks(self) -> Iterator[Tensor]:
        """The ``formed`` gradients of all samples, a block of samples at a time."""
        block = CPU_BLOCK if self.output.device.type == "cpu" else DEVICE_BLOCK
        step = max(1, block // self.parameter.numel())
        yield from (self.formed(start, start + step) for start in range(0, len(self.output), step))

    def formed(self, start: int, end: int) -> Tensor:
        """The gradients of the samples from ``start`` up to, but not including, ``end``, in memory of their own."""
        raise NotImplementedError

    def shaped(self, formed: Tensor) -> Tensor:
        """Reshape the output of ``formed``, or its sum over the samples, to the shape of the parameter."""
        return formed


class Summed(SampleGradients):
    """Gradients that have been computed already: ``output`` is (B, ...) with the elements of the parameter."""

    def formed(self, start: int, end: int) -> Tensor:
        return self.output[start:end].clone().view(-1, *self.parameter.shape)


class Products(SampleGradients):
    """Gradients of a matrix that is applied at L positions of a sample.

    Args:
        parameter: the matrix (O, K), or a parameter with these elements.
        output: (B, L, O) the gradient of the output.
        inputs: (B, L, K) the vectors that the matrix is applied to.
    """

    def __init__(self, parameter: Tensor, output: Tensor, inputs: Tensor) -> None:
        super().__init__(parameter, output)
        self.inputs = inputs

    def sum_of_squares(self) -> Tensor:
        if self.output.shape[1] > 1:
            return super().sum_of_squares()
        # With a single position, the square of the product is the product of the squares: no gradient is formed.
        return self.shaped(self.output[:, 0].square().T @ self.inputs[:, 0].square())

    def sum_of_sizes(self) -> Tensor:
        if self.output.shape[1] > 1:
            return super().sum_of_sizes()
        return self.shaped(self.output[:, 0].abs().T @ self.inputs[:, 0].abs())

    def products(self, vectors: Tensor) -> Tensor:
        if self.output.shape[1] > 1 or vectors.ndim > 3:  # more than 3 dimensions: a convolution's
            return super().products(vectors)
        return torch.einsum("kbo,bo->bk", self.inputs[:, 0] @ vectors.mT, self.output[:, 0])

    def formed(self, start: int, end: int) -> Tensor:
        return self.output[start:end].mT @ self.inputs[start:end]


class Patches(Products):
    """Gradients of a convolution as a matrix applied to patches; K runs over (height, width, channel)."""

    def shaped(self, formed: Tensor) -> Tensor:
        _, channels, height, width = self.parameter.shape
        return formed.unflatten(-1, (height, width, channels)).movedim(-1, -3)


class Convolutions(SampleGradients):
    """Gradients of a convolution, by one grouped convolution with a group for each sample.

    Args:
        layer: the convolution.
        output: (B, O, H', W') the gradient of its output.
        inputs: (B, C, H, W) its input.
    """

    def __init__(self, layer: nn.Conv2d, output: Tensor, inputs: Tensor) -> None:
        super().__init__(layer.weight, output)
        self.layer, self.inputs = layer, inputs

    def formed(self, start: int, end: int) -> Tensor:
        inputs, output, layer = self.inputs[start:end], self.output[start:end], self.layer
        size, (filters, *kernel) = len(inputs), self.parameter.shape
        # The public torch.nn.grad.conv2d_weight gives the same bits, but describes the shape of the weights by an
        # expanded scalar, which is copied to full size: 25 to 30 % slower on a CPU.
        _, found, _ = torch.ops.aten.convolution_backward(
            output.reshape(1, -1, *output.shape[2:]),
            inputs.reshape(1, -1, *inputs.shape[2:]),
            self.parameter.new_empty(size * filters, *kernel),  # only the shape counts
            None,
            layer.stride,
            layer.padding,
            layer.dilation,
            False,
            (0, 0),
            size * layer.groups,
            (False, True, False),
        )
        return found.view(size, filters, *kernel)
