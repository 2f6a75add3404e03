"""How much each weight matters to some data, and what that is used for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.nn import functional as F

CHUNK = 2**22  # elements of per-sample gradients held at once: 16 MiB in float32


class Measure(NamedTuple):
    """An importance: the size of the gradient of some value of a sample."""

    value: Callable[[Tensor, Tensor | None], Tensor]  # logits (B, num_classes), labels (B,) if needed -> (B,)
    size: Callable[[Tensor], Tensor]  # of each element; multiplicative: size(a b) = size(a) size(b)


MEASURES = {
    "cross_entropy": Measure(lambda logits, labels: F.cross_entropy(logits, labels, reduction="none"), torch.square),
    "squared_norm": Measure(lambda logits, _: logits.square().sum(1), torch.abs),
    "norm": Measure(lambda logits, _: logits.norm(dim=1), torch.abs),
}

# Vectors over the parameters


def flatten(tensors: Iterable[Tensor]) -> Tensor:
    """All elements as one vector, in logical order whatever the memory format."""
    return torch.cat([t.reshape(-1) for t in tensors])


def parts(flat: Tensor, like: Sequence[Tensor]) -> Iterator[Tensor]:
    """Views of a vector made by ``flatten``, in the shapes of the tensors it came from."""
    return (part.view(t.shape) for part, t in zip(flat.split([t.numel() for t in like]), like, strict=True))


@torch.no_grad()
def assign(parameters: Sequence[Tensor], flat: Tensor) -> None:
    """Write a vector made by ``flatten`` back into the tensors it came from."""
    for parameter, part in zip(parameters, parts(flat, parameters), strict=True):
        parameter.copy_(part)


# Synaptic dampening


def dampened(weights: Tensor, forget: Tensor, reference: Tensor, alpha: float | Tensor, lam: float) -> Tensor:
    """SSD's dampening: where ``forget > alpha reference``, weights times ``min(lam reference / forget, 1)``.

    All are vectors over the parameters; ``forget`` and ``reference`` are importances (Foster et al., 2024, eq. 6-8).
    """
    shrunk = weights * (lam * reference / forget).clamp(max=1)
    return torch.where(forget > alpha * reference, shrunk, weights)


def sorted_ratios(forget: Tensor, reference: Tensor) -> Tensor:
    """The finite ratios ``forget / reference`` of two importances, ascending: 0 / 0 and x / 0 are left out."""
    ratios = forget / reference
    return ratios[ratios.isfinite()].sort().values


def percentile(ascending: Tensor, percent: float) -> Tensor:
    """The percentile of sorted values, linear between neighbours; of any number of values, unlike ``torch.quantile``."""
    position = percent / 100 * (len(ascending) - 1)
    below = int(position)
    above = min(below + 1, len(ascending) - 1)
    return ascending[below].lerp(ascending[above], position - below)


# Sample by sample


def sample_sums(
    network: nn.Module, images: Tensor, labels: Tensor | None, measure: Measure, parameters: Sequence[Tensor]
) -> list[Tensor]:
    """``sum_b size(d value(f(x_b), y_b) / d parameter)`` for each parameter: the sizes of B gradients from one pass.

    The gradient of a layer's weights is the product of its input and of the gradient of its output. So one backward
    pass to the images holds every sample's gradient: a matrix product for the batch in a linear layer, one a sample in
    a convolution. Where that does not reach every parameter (one that is used twice, or outside a layer of its own as
    the position embeddings of a ViT) the samples pass one by one.

    Args:
        network: in eval mode, so that no sample's logits depend on another's.
        images: (B, ...) inputs.
        labels: (B,), or None for a measure that needs none.
        measure: see ``Measure``.
        parameters: some of the network's, each of which requires gradients.
    """
    wanted = {id(p) for p in parameters}
    layers = [m for m in network.modules() if any(id(p) in wanted for p in m.parameters(recurse=False))]
    uses: list[Use] = []
    hooks = [layer.register_forward_hook(lambda *use: uses.append(Use(*use))) for layer in layers]
    try:
        images = images.detach().requires_grad_()
        total = measure.value(network(images), labels).sum()
    finally:
        for hook in hooks:
            hook.remove()
    if Counter(id(use.layer) for use in uses) != Counter(map(id, layers)) or not all(use.is_plain for use in uses):
        return sample_sums_one_by_one(network, images.detach(), labels, measure, parameters)
    torch.autograd.grad(total, images)  # to the images alone: the weights' own gradients are not computed
    sums = {id(parameter): value for use in uses for parameter, value in use.sample_sums(measure.size)}
    return [sums[id(p)] for p in parameters]


def sample_sums_one_by_one(
    network: nn.Module, images: Tensor, labels: Tensor | None, measure: Measure, parameters: Sequence[Tensor]
) -> list[Tensor]:
    """``sample_sums`` of any network, by as many backward passes as samples."""
    sums = [torch.zeros_like(p) for p in parameters]
    for i in range(len(images)):
        value = measure.value(network(images[i : i + 1]), None if labels is None else labels[i : i + 1]).sum()
        torch._foreach_add_(
            sums, [measure.size(g) for g in torch.autograd.grad(value, parameters, materialize_grads=True)]
        )
    return sums


class Use:
    """One call of a layer in a forward pass: its input and, after the backward pass, the gradient of its output."""

    def __init__(self, layer: nn.Module, inputs: tuple, output: Tensor) -> None:
        alone = next(layer.children(), None) is None and len(inputs) == 1 and isinstance(output, Tensor)
        self.is_plain = alone and len(inputs[0]) == len(output)
        self.layer, self.input, self.gradient = layer, inputs[0].detach(), torch.zeros_like(output)
        if self.is_plain:
            output.register_hook(self._keep)  # the gradient before any operation that later works in place

    def _keep(self, gradient: Tensor) -> None:
        self.gradient = gradient

    @torch.no_grad()
    def sample_sums(self, size: Callable[[Tensor], Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """(parameter, the sum over samples of the sizes of its gradients) for the layer's own parameters."""
        if isinstance(self.layer, nn.Linear) and self.input.ndim == 2:  # the sizes of outer products, summed
            yield self.layer.weight, size(self.gradient).T @ size(self.input)
            if self.layer.bias is not None:
                yield self.layer.bias, size(self.gradient).sum(0)
            return
        held = sum(p.numel() for p in self.layer.parameters()) + 9 * self.input[0].numel()  # 9: a 3x3 kernel's windows
        step = max(1, CHUNK // held)
        chunks = zip(self.input.split(step), self.gradient.split(step), strict=True)
        sums = [[size(g).sum(0) for g in sample_gradients(self.layer, *chunk)] for chunk in chunks]
        for parameter, values in zip(self.layer.parameters(), zip(*sums, strict=True), strict=True):
            yield parameter, sum(values)


def sample_gradients(layer: nn.Module, inputs: Tensor, gradient: Tensor) -> list[Tensor]:
    """The gradients of a layer's parameters by sample, (B, *shape) each, from its input and its output's gradient."""
    if isinstance(layer, nn.Linear):  # tokens: (B, ..., inputs) and (B, ..., outputs)
        tokens = gradient.flatten(1, -2)
        return [tokens.mT @ inputs.flatten(1, -2)] + ([tokens.sum(1)] if layer.bias is not None else [])
    if isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.dilation == (1, 1) and is_zero_padded(layer):
        (height, width), (top, left) = layer.kernel_size, layer.padding
        padded = F.pad(inputs, (left, left, top, top)).permute(0, 2, 3, 1)  # channels last: windows are runs of memory
        seen = padded.unfold(1, height, layer.stride[0]).unfold(2, width, layer.stride[1])  # (B, H, W, C, h, w)
        windows = seen.permute(0, 1, 2, 4, 5, 3).flatten(3).flatten(1, 2)  # (B, H W, h w C)
        maps = gradient.flatten(2)  # (B, outputs, H W)
        weights = (maps @ windows).unflatten(2, (height, width, -1)).permute(0, 1, 4, 2, 3)
        return [weights] + ([maps.sum(2)] if layer.bias is not None else [])

    def gradients(one: Tensor, of_output: Tensor) -> tuple[Tensor, ...]:
        output, back = vjp(lambda own: functional_call(layer, own, (one[None],)), dict(layer.named_parameters()))
        return tuple(back(of_output[None].to(output.dtype))[0].values())

    return list(vmap(gradients)(inputs, gradient))


def is_zero_padded(layer: nn.Conv2d) -> bool:
    """Whether the padding is zeros of given numbers of pixels."""
    return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
