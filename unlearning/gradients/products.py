"""Inner products of each sample's gradient of cross-entropy with given vectors."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp
from torch.nn import functional as F

from ..types import Batch
from .per_sample import SampleBackward, plain_attention
from .vectors import Vectors, parts


def directional_derivatives(model: nn.Module, batch: Batch, vector: Tensor) -> Tensor:
    """The products ``g_b . vector`` of each sample's gradient g_b, (B,).

    One pass in forward mode computes them, and no gradient is formed.

    Args:
        model: in eval mode.
        batch: with labels.
        vector: (P,) over the trainable parameters, as :func:`~unlearning.gradients.vectors.flatten` makes it.
    """
    weights = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    along = dict(zip(weights, parts(vector, list(weights.values())), strict=True))

    def losses(values: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(functional_call(model, values, (batch.images,)), batch.targets, reduction="none")

    with plain_attention():
        return jvp(losses, (weights,), (along,))[1]


def inner_products(model: nn.Module, batch: Batch, vectors: Vectors) -> Tensor:
    """The products ``g_b . v_k`` of each sample's gradient g_b by the parameters that ``vectors`` has, (B, K).

    They take one forward and one backward pass, whatever the number K of vectors.
    """
    backward = SampleBackward(model, batch.images)
    found = backward.along(backward.residuals(batch.targets))
    return functools.reduce(
        torch.add, (each.products(vectors[each.parameter]) for each in found if each.parameter in vectors)
    )
