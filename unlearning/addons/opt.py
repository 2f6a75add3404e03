"""The deterministic feasible update (arXiv:2511.02435)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..gradients.vectors import trainable
from ..types import Steps
from .coordinates import CoordinateFactors

Scope = Literal["global", "tensor"]


class Opt(CoordinateFactors):
    """Zero the most conflicting coordinates of the step, and only as many as needed for it to help both batches.

    With ``m`` in {0, 1}^n the step becomes ``m d``, such that ``<m d, g_c> >= 0`` and ``<m d, g_u> >= 0``: with
    ``d = b g_c + a g_u`` that is ``min{(a/b) sum m g_u^2, (b/a) sum m g_c^2} + sum m g_u g_c >= 0``. Where ``m = 1``
    satisfies this, nothing is dropped. Otherwise ``m`` drops the shortest prefix of the coordinates in ascending order
    of ``g_u g_c`` that is enough; a smaller set of other coordinates may exist.

    The guarantee is about the gradients of the two batches and the step that this add-on hands on, in which the
    coordinates that saliency or pruning freezes are zero already. Add-ons stacked after it, an l1 penalty, momentum and
    weight decay are not covered. Both weights must be above 0, or such a mask may not exist.

    Args:
        scope: whether the search is over the coordinates of all parameters at once (``global``), or over each parameter
            tensor by itself (``tensor``, as in the paper). Then the inner products of every tensor are not negative,
            nor are their sums.
    """

    name = "opt"

    def __init__(self, scope: Scope = "global") -> None:
        self.scope = scope

    def check(self, method: Steps) -> None:
        super().check(method)
        require_both_weights(self, method)

    def factor(self, method: Steps, combined: Tensor, forget: Tensor, retain: Tensor) -> Tensor:
        return searched(self.scope, method, combined, forget, retain)


def require_both_weights(addon: CoordinateFactors, method: Steps) -> None:
    """Raise a ``UserError`` unless both gradients have a positive weight in the step."""
    for stream in ("forget", "retain"):
        if method.weights[stream] <= 0:
            raise UserError(
                f"method.{stream}_weight={method.weights[stream]:g}: the add-on {addon.name} needs "
                "method.forget_weight and method.retain_weight above 0",
                key=f"method.{stream}_weight",
                kind="conflict",
            )


def searched(scope: Scope, method: Steps, *vectors: Tensor) -> Tensor:
    """``feasible_mask`` of the three vectors, (n,), or of each parameter tensor's part of them by itself."""
    if scope == "global":
        return feasible_mask(*vectors)
    lengths = [weight.numel() for weight in trainable(method.model)]
    tensors = zip(*(vector.split(lengths) for vector in vectors), strict=True)
    return torch.cat([feasible_mask(*own) for own in tensors])  # no search waits for the result of another


def feasible_mask(step: Tensor, forget: Tensor, retain: Tensor) -> Tensor:
    """The longest prefix of the coordinates in descending order of ``g_u g_c`` on which the step helps both; (n,) bool.

    ``step`` is ``d``, ``forget`` and ``retain`` are ``g_u`` and ``g_c``, all (n,). It helps both where
    ``sum m d g_u >= 0`` and ``sum m d g_c >= 0``. With positive weights every coordinate with ``g_u g_c >= 0``
    contributes to both sums, so all of those are kept.
    """
    order = descending(forget * retain)
    sums = [(step * gradient)[order].cumsum(0, dtype=torch.float64) for gradient in (forget, retain)]
    positions = torch.arange(1, len(order) + 1, device=order.device)
    kept = ((torch.minimum(*sums) >= 0) * positions).max()  # length of the longest prefix that helps both, or 0
    return torch.empty_like(order, dtype=torch.bool).scatter_(0, order, positions <= kept)


def descending(values: Tensor) -> Tensor:
    """Positions (n,) of the values from the largest to the smallest; equal inputs give equal orderings."""
    if values.device.type == "cpu":  # numpy sorts with vector instructions, several times as fast as torch
        return torch.from_numpy(np.argsort(-values.to(torch.promote_types(values.dtype, torch.float32)).numpy()))
    return values.argsort(descending=True)
