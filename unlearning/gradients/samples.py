"""Each sample's own gradient, for a whole batch at once and without a loop over the samples.

In one backward pass of a batch every layer meets the gradient of its output, sample by sample; together with the
layer's input that is all that the samples' weight gradients are made of (Goodfellow, 2015, arXiv:1510.01799; for
convolutions as products with unfolded inputs: Rochette et al., 2019, arXiv:1912.06015).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.func import functional_call, jvp, vjp, vmap
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..types import Batch
from .vectors import parts

Vectors = Mapping[nn.Parameter, Tensor]  # K of them: (K, *shape) for a parameter of that shape

CPU_BLOCK, DEVICE_BLOCK = 2**19, 2**26  # elements formed at a time: what stays in a cache, and what fills a GPU


class SampleGradients:
    """The gradients of B samples with respect to one parameter, formed when they are asked for.

    Args:
        parameter: the parameter.
        output: (B, ...) the gradient of the output of the layer that it belongs to.
    """

    def __init__(self, parameter: nn.Parameter, output: Tensor) -> None:
        self.parameter, self.output = parameter, output

    def each(self) -> Tensor:
        """(B, *parameter.shape): every sample's gradient."""
        return self.shaped(self.formed(0, len(self.output)))

    def sum_of_squares(self) -> Tensor:
        """(*parameter.shape): each element's square, summed over the samples."""
        return self.shaped(sum(block.square_().sum(0) for block in self.blocks()))

    def products(self, vectors: Tensor) -> Tensor:
        """(B, K): every sample's gradient times each of the K ``vectors``, (K, *parameter.shape)."""
        return torch.cat([self.shaped(block).flatten(1) @ vectors.flatten(1).T for block in self.blocks()])

    def blocks(self) -> Iterator[Tensor]:
        """What is ``formed`` of all samples, a part of them at a time."""
        block = CPU_BLOCK if self.output.device.type == "cpu" else DEVICE_BLOCK
        step = max(1, block // self.parameter.numel())
        yield from (self.formed(start, start + step) for start in range(0, len(self.output), step))

    def formed(self, start: int, end: int) -> Tensor:
        """The gradients of samples ``start`` to before ``end``, in new memory, as ``shaped`` expects them."""
        raise NotImplementedError

    def shaped(self, formed: Tensor) -> Tensor:
        """What was formed, or summed over its first dimension, in the shape of the parameter."""
        return formed


class Summed(SampleGradients):
    """Gradients (B, ...) that are the parameter's already."""

    def formed(self, start: int, end: int) -> Tensor:
        return self.output[start:end].clone().view(-1, *self.parameter.shape)


class Products(SampleGradients):
    """Of a matrix that is applied at L positions of a sample: (B, L, O) ``output`` by (B, L, K) ``inputs``."""

    def __init__(self, parameter: nn.Parameter, output: Tensor, inputs: Tensor) -> None:
        super().__init__(parameter, output)
        self.inputs = inputs

    def sum_of_squares(self) -> Tensor:
        if self.output.shape[1] > 1:
            return super().sum_of_squares()
        # With one position the square is the product of the squares, and no sample's gradient need be formed.
        return self.shaped(self.output[:, 0].square().T @ self.inputs[:, 0].square())

    def products(self, vectors: Tensor) -> Tensor:
        if self.output.shape[1] > 1 or vectors.ndim > 3:  # of a convolution
            return super().products(vectors)
        return torch.einsum("kbo,bo->bk", self.inputs[:, 0] @ vectors.mT, self.output[:, 0])

    def formed(self, start: int, end: int) -> Tensor:
        return self.output[start:end].mT @ self.inputs[start:end]


class Patches(Products):
    """Of a convolution as a matrix that is applied to patches, whose K runs over (height, width, channel)."""

    def shaped(self, formed: Tensor) -> Tensor:
        _, channels, height, width = self.parameter.shape
        return formed.unflatten(-1, (height, width, channels)).movedim(-1, -3)


class Convolutions(SampleGradients):
    """Of a convolution with the maps ``inputs`` (B, C, H, W), as one convolution with a group for each sample."""

    def __init__(self, layer: nn.Conv2d, output: Tensor, inputs: Tensor) -> None:
        super().__init__(layer.weight, output)
        self.layer, self.inputs = layer, inputs

    def formed(self, start: int, end: int) -> Tensor:
        inputs, output, layer = self.inputs[start:end], self.output[start:end], self.layer
        size, (filters, *kernel) = len(inputs), self.parameter.shape
        _, found, _ = torch.ops.aten.convolution_backward(
            output.reshape(1, -1, *output.shape[2:]),
            inputs.reshape(1, -1, *inputs.shape[2:]),
            self.parameter.new_empty(size * filters, *kernel),  # a shape: the values of the weights do not matter
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


class Call(NamedTuple):
    """One passage through a layer."""

    rule: Rule | None  # None where its samples cannot be told apart
    output: GradientEdge  # and no tensor, since an activation that works in place puts its own output in its place
    split: bool  # samples come in several rows each, as the windows of an image do


class SampleBackward:
    """One forward pass of a model, from which each sample's gradient is taken along any direction of its logits.

    Linear, convolution and BatchNorm layers that are called once have a rule each, at the cost of one backward pass of
    the batch for each direction. What other parameters there are is left to ``torch.func``, which passes the whole
    model once more for each direction.

    Args:
        model: takes ``images`` to logits; in eval mode, so that samples do not meet in a batch's statistics.
        images: (B, ...).
    """

    logits: Tensor  # (B, C)

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        self.model, self.images = model, images
        self.dtype = next(model.parameters()).dtype  # of the gradients, whatever autocast computes in
        calls: dict[nn.Module, list[Call]] = defaultdict(list)

        def record(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            rows, split = len(output), len(output) != len(images)
            rule = None
            if not split or (isinstance(layer, nn.Linear) and rows % len(images) == 0):
                rule = RULES[type(layer)](layer, self.by_sample(inputs[0].detach().to(self.dtype)))
            calls[layer].append(Call(rule, get_gradient_edge(output), split))

        hooks = [m.register_forward_hook(record) for m in model.modules() if has_rule(m)]
        try:
            with torch.enable_grad():
                self.logits = model(images)
        finally:
            for hook in hooks:
                hook.remove()
        owners = Counter(p for m in model.modules() for p in m.parameters(recurse=False))
        alone = {m: c[0] for m, c in calls.items() if len(c) == 1 and all(owners[p] == 1 for p in m.parameters())}
        ruled = {m: call for m, call in alone.items() if call.rule and not (call.split and self.mixes(call))}
        self.rules, self.edges = [c.rule for c in ruled.values()], [c.output for c in ruled.values()]
        covered = {p for m in ruled for p in m.parameters()}
        self.rest = {n: p for n, p in model.named_parameters() if p.requires_grad and p not in covered}

    def by_sample(self, values: Tensor) -> Tensor:
        """(B, ...) as they are, and (B k, ...), a sample's k rows following each other, as (B, k, ...)."""
        samples = len(self.images)
        return values if len(values) == samples else values.unflatten(0, (samples, -1))

    def mixes(self, call: Call) -> bool:
        """Whether the rows of the output are in another order: the first sample has others than the first k."""
        first = torch.autograd.grad(self.logits[0].sum(), call.output, retain_graph=True, allow_unused=True)[0]
        return first is not None and bool(self.by_sample(first)[1:].any())

    def residuals(self, labels: Tensor) -> Tensor:
        """(B, C) ``softmax(logits) - onehot(labels)``, the gradient of each sample's cross-entropy by its logits."""
        logits = self.logits.detach()
        return logits.softmax(1) - F.one_hot(labels, logits.shape[1])

    def along(self, directions: Tensor) -> Iterator[SampleGradients]:
        """By parameter, each sample's gradient of ``directions[b] @ logits[b]``; ``directions`` is (B, C).

        Along the ``residuals`` these are the gradients of each sample's cross-entropy.
        """
        if self.edges:  # gradients of layer outputs alone: none of the whole batch's weights is computed
            outputs = torch.autograd.grad(self.logits, self.edges, directions, retain_graph=True, allow_unused=True)
            for rule, gradient in zip(self.rules, outputs, strict=True):
                if gradient is not None:
                    found = rule(self.by_sample(gradient.to(self.dtype)))
                    yield from (part for part in found if part.parameter.requires_grad)
        if self.rest:
            yield from self._rest_along(directions)

    def rows_along(self, directions: Tensor, rows: Tensor | None = None) -> Tensor:
        """(B, P): as ``along``, each sample's gradient by all trainable parameters, in their order, as one row.

        They are written into ``rows``, if it is given; any strides will do.
        """
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        sizes = [p.numel() for p in parameters]
        if rows is None:
            rows = directions.new_empty(len(directions), sum(sizes), dtype=self.dtype)
        left = dict(zip(parameters, rows.split(sizes, 1), strict=True))
        for gradients in self.along(directions):
            part = left.pop(gradients.parameter)
            part.unflatten(1, gradients.parameter.shape).copy_(gradients.each())
        for part in left.values():  # parameters that no logit depends on
            part.zero_()
        return rows

    def _rest_along(self, directions: Tensor) -> Iterator[SampleGradients]:
        values = {name: parameter.detach() for name, parameter in self.rest.items()}

        def one(image: Tensor, direction: Tensor) -> dict[str, Tensor]:
            def logits(parameters: dict[str, Tensor]) -> Tensor:
                return functional_call(self.model, parameters, (image[None],))[0]

            return vjp(logits, values)[1](direction)[0]

        with torch.no_grad(), plain_attention():  # no graph beside the one that vjp makes
            found = vmap(one)(self.images, directions)
        for name, gradients in found.items():
            yield Summed(self.rest[name], gradients.to(self.dtype))


def directional_derivatives(model: nn.Module, batch: Batch, vector: Tensor) -> Tensor:
    """(B,) ``g_b . vector`` for each sample's gradient g_b of cross-entropy by the trainable parameters.

    By one pass in forward mode, which forms none of the gradients; ``vector`` is (P,), as ``importance.flatten`` makes
    it.
    """
    weights = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    along = dict(zip(weights, parts(vector, list(weights.values())), strict=True))

    def losses(values: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(functional_call(model, values, (batch.images,)), batch.labels, reduction="none")

    with plain_attention():
        return jvp(losses, (weights,), (along,))[1]


def inner_products(model: nn.Module, batch: Batch, vectors: Vectors) -> Tensor:
    """(B, K) ``g_b . v_k`` for each sample's gradient g_b of cross-entropy by the parameters that ``vectors`` has.

    By one forward and one backward pass, whatever the number of vectors.
    """
    backward = SampleBackward(model, batch.images)
    found = backward.along(backward.residuals(batch.labels))
    return sum(each.products(vectors[each.parameter]) for each in found if each.parameter in vectors)


def plain_attention() -> AbstractContextManager[None]:
    """Within, attention is products and a softmax: fused kernels have neither a forward mode nor a rule for vmap."""
    return sdpa_kernel(SDPBackend.MATH)


# What the layers' gradients are made of: a rule takes a layer and its input to a function of its output's gradient

Rule = Callable[[Tensor], Iterator[SampleGradients]]


def has_rule(layer: nn.Module) -> bool:
    """Whether a rule below covers the layer, as it is set up, and there is a parameter to cover."""
    if type(layer) not in RULES or not any(p.requires_grad for p in layer.parameters()):
        return False  # a subclass may compute something else
    if isinstance(layer, nn.Conv2d):
        return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
        return not layer.training and layer.running_mean is not None
    return True


def linear(layer: nn.Linear, inputs: Tensor) -> Rule:
    """``output = inputs @ weight.T + bias``, at one or more positions of a sample."""
    vectors = positions(inputs)

    def gradients(output: Tensor) -> Iterator[SampleGradients]:
        above = positions(output)
        yield Products(layer.weight, above, vectors)
        if layer.bias is not None:
            yield Summed(layer.bias, above.sum(1))

    return gradients


def convolution(layer: nn.Conv2d, inputs: Tensor) -> Rule:
    """Patches of the input by a matrix; or a convolution by groups, where that is faster or there are groups."""
    plain = layer.groups == 1 and layer.dilation == (1, 1)
    vectors = patches(layer, inputs) if plain and not convolves_faster(layer, inputs) else None
    maps = inputs.contiguous() if vectors is None else None

    def gradients(output: Tensor) -> Iterator[SampleGradients]:
        if vectors is not None:
            yield Patches(layer.weight, output.permute(0, 2, 3, 1).flatten(1, 2), vectors)
        else:
            yield Convolutions(layer, output, maps)
        if layer.bias is not None:
            yield Summed(layer.bias, output.sum((2, 3)))

    return gradients


def convolves_faster(layer: nn.Conv2d, inputs: Tensor) -> bool:
    """Than it multiplies patches: on CPUs, for maps from 8 x 8 and enough channels to fill a vector register."""
    size = inputs.shape[2] * inputs.shape[3] // (layer.stride[0] * layer.stride[1])
    return inputs.device.type == "cpu" and size >= 64 and inputs.shape[1] >= 8


def patches(layer: nn.Conv2d, inputs: Tensor) -> Tensor:
    """(B, L, h w C): what the convolution sees at each of its L positions."""
    (height, width), (down, right) = layer.kernel_size, layer.padding
    padded = F.pad(inputs, (right, right, down, down)).permute(0, 2, 3, 1)
    windows = padded.unfold(1, height, layer.stride[0]).unfold(2, width, layer.stride[1])  # (B, H', W', C, h, w)
    return windows.permute(0, 1, 2, 4, 5, 3).flatten(1, 2).flatten(2)  # channels last: whole pixels are copied


def batch_norm(layer: nn.BatchNorm1d | nn.BatchNorm2d, inputs: Tensor) -> Rule:
    """``output = normalised * weight + bias`` by channel, which is dimension 1."""
    normalised = F.batch_norm(inputs, layer.running_mean, layer.running_var, eps=layer.eps)

    def gradients(output: Tensor) -> Iterator[SampleGradients]:
        for parameter, values in ((layer.weight, output * normalised), (layer.bias, output)):
            yield Summed(parameter, values.reshape(*values.shape[:2], -1).sum(2))

    return gradients


RULES: dict[type[nn.Module], Callable[..., Rule]] = {
    nn.Linear: linear,
    nn.Conv2d: convolution,
    nn.BatchNorm1d: batch_norm,
    nn.BatchNorm2d: batch_norm,
}


def positions(values: Tensor) -> Tensor:
    """(B, ..., F) to (B, L, F)."""
    return values[:, None] if values.ndim == 2 else values.flatten(1, -2)
