"""Each sample's own gradient, for a whole batch at once and without a loop over the samples.

One backward pass of a batch gives every layer the gradient of its output, sample by sample. Together with the layer's
input, these determine the samples' weight gradients (Goodfellow, 2015, arXiv:1510.01799; for convolutions as products
with unfolded inputs: Rochette et al., 2019, arXiv:1912.06015).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.func import functional_call, vjp, vmap
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from .layer_rules import RULES, Rule, has_rule
from .sample_gradients import SampleGradients, Summed
from .vectors import trainable


class Call(NamedTuple):
    """One call of a layer in the forward pass."""

    rule: Rule | None  # None where its samples cannot be told apart
    output: GradientEdge  # an edge rather than a tensor, because an in-place activation overwrites the tensor
    split: bool  # whether a sample has several rows, as the windows of an image do


class SampleBackward:
    """One forward pass of a model, from which each sample's gradient is taken along any direction of its logits.

    Linear, convolution and BatchNorm layers that are called once have a rule each, at the cost of one backward pass of
    the batch for each direction. Remaining parameters fall back to ``torch.func``, which passes the whole model once
    more for each direction.

    Args:
        model: maps ``images`` to logits; in eval mode, so that no sample depends on the others of its batch.
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
        self.ruled: list[tuple[Rule, GradientEdge]] = []
        covered: set[Tensor] = set()
        for layer, call in alone.items():
            if call.rule is not None and not (call.split and self.mixes(call)):
                self.ruled.append((call.rule, call.output))
                covered.update(layer.parameters())
        self.rest = {n: p for n, p in model.named_parameters() if p.requires_grad and p not in covered}

    def by_sample(self, values: Tensor) -> Tensor:
        """Values (B, ...) unchanged, and (B k, ...), where a sample's k rows are consecutive, as (B, k, ...)."""
        samples = len(self.images)
        return values if len(values) == samples else values.unflatten(0, (samples, -1))

    def mixes(self, call: Call) -> bool:
        """Whether the rows of the output are in another order: the first sample's are not the first k."""
        first = torch.autograd.grad(self.logits[0].sum(), call.output, retain_graph=True, allow_unused=True)[0]
        return first is not None and bool(self.by_sample(first)[1:].any())

    def residuals(self, labels: Tensor) -> Tensor:
        """The gradient of each sample's cross-entropy by its logits, ``softmax(logits) - onehot(labels)``: (B, C)."""
        logits = self.logits.detach()
        return logits.softmax(1) - F.one_hot(labels, logits.shape[1])

    def along(self, directions: Tensor) -> Iterator[SampleGradients]:
        """Each sample's gradient of ``directions[b] @ logits[b]``, one parameter at a time.

        Along the :meth:`residuals` these are the gradients of each sample's cross-entropy.

        Args:
            directions: (B, C).
        """
        if self.ruled:  # gradients of layer outputs only: those of the batch's weights are not computed
            edges = [edge for _, edge in self.ruled]
            outputs = torch.autograd.grad(self.logits, edges, directions, retain_graph=True, allow_unused=True)
            for (rule, _), gradient in zip(self.ruled, outputs, strict=True):
                if gradient is not None:
                    found = rule(self.by_sample(gradient.to(self.dtype)))
                    yield from (part for part in found if part.parameter.requires_grad)
        if self.rest:
            yield from self.rest_along(directions)

    def rows_along(self, directions: Tensor, rows: Tensor | None = None) -> Tensor:
        """As :meth:`along`: each sample's gradient by all trainable parameters, in their order, as one row of (B, P).

        The gradients are written into ``rows`` if it is given; it may have any strides.
        """
        parameters = trainable(self.model)
        sizes = [p.numel() for p in parameters]
        if rows is None:
            rows = directions.new_empty(len(directions), sum(sizes), dtype=self.dtype)
        left: dict[Tensor, Tensor] = dict(zip(parameters, rows.split(sizes, 1), strict=True))
        for gradients in self.along(directions):
            part = left.pop(gradients.parameter)
            part.unflatten(1, gradients.parameter.shape).copy_(gradients.each())
        for part in left.values():  # parameters that no logit depends on
            part.zero_()
        return rows

    def rest_along(self, directions: Tensor) -> Iterator[SampleGradients]:
        """As :meth:`along`, for the parameters that no rule covers."""
        values = {name: parameter.detach() for name, parameter in self.rest.items()}

        def gradient(image: Tensor, direction: Tensor) -> dict[str, Tensor]:
            def logits(parameters: dict[str, Tensor]) -> Tensor:
                return functional_call(self.model, parameters, (image[None],))[0]

            return vjp(logits, values)[1](direction)[0]

        with torch.no_grad(), plain_attention():  # vjp makes the only graph that is needed
            found = vmap(gradient)(self.images, directions)
        for name, gradients in found.items():
            yield Summed(self.rest[name], gradients.to(self.dtype))


def plain_attention() -> AbstractContextManager[None]:
    """A context in which attention is computed by matrix products and a softmax.

    The fused kernels have neither a forward mode nor a batching rule for vmap.
    """
    return sdpa_kernel(SDPBackend.MATH)
