"""The deterministic feasible update (arXiv:2511.02435)."""

from __future__ import annotations

from typing import Literal

import lightning as L
import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..gradients.vectors import trainable
from .coordinates import CoordinateFactors

Scope = Literal["global", "tensor"]


class Opt(CoordinateFactors):
    """Drop the most conflicting coordinates of the step, in that order no more than needed for it to help both batches.

    With ``m`` in {0, 1}^n the step becomes ``m d``, such that ``<m d, g_c> >= 0`` and ``<m d, g_u> >= 0``: with
    ``d = b g_c + a g_u`` that is ``min{(a/b) sum m g_u^2, (b/a) sum m g_c^2} + sum m g_u g_c >= 0``. Where ``m = 1``
    does it nothing is dropped, else the shortest prefix of the coordinates in ascending order of ``g_u g_c``: of other
    sets of coordinates a smaller one may do.

    The guarantee is about the two batches' gradients and what this add-on hands on, with what saliency or pruning
    freezes left out before: add-ons stacked after it, an l1 penalty, momentum and weight decay come on top. Both
    weights must be above 0: else no mask may exist.

    Args:
        scope: the coordinates are those of all parameters at once (``global``), or of each parameter tensor by itself
            (``tensor``, the paper's): then the inner products of each tensor are not negative, and so their sums.
    """

    name = "opt"

    def __init__(self, scope: Scope = "global") -> None:
        self.scope = scope

    def check(self, method: L.LightningModule) -> None:
        super().check(method)
        require_both_weights(self, method)

    def factor(self, method: L.LightningModule, combined: Tensor, forget: Tensor, retain: Tensor) -> Tensor:
        return searched(self.scope, method, combined, forget, retain)


def require_both_weights(addon: CoordinateFactors, method: L.LightningModule) -> None:
    """Raise a ``UserError`` unless both gradients have a part in the step."""
    forget, retain = (method.weights[stream] for stream in ("forget", "retain"))
    if min(forget, retain) <= 0:
        raise UserError(
            f"addon.{addon.name} needs method.forget_weight and method.retain_weight above 0, "
            f"not {forget:g} and {retain:g}"
        )


def searched(scope: Scope, method: L.LightningModule, *vectors: Tensor) -> Tensor:
    """``feasible_mask`` of the three vectors, (n,), or of each parameter tensor's stretch of them by itself."""
    if scope == "global":
        return feasible_mask(*vectors)
    lengths = [weight.numel() for weight in trainable(method.model)]
    tensors = zip(*(vector.split(lengths) for vector in vectors), strict=True)
    return torch.cat([feasible_mask(*own) for own in tensors])  # queued one after the other: nothing waits for a result


def feasible_mask(step: Tensor, forget: Tensor, retain: Tensor) -> Tensor:
    """The longest prefix of the coordinates in descending order of ``g_u g_c`` on which the step helps both; (n,) bool.

    ``step`` is ``d``, ``forget`` and ``retain`` are ``g_u`` and ``g_c``, all (n,). It helps where ``sum m d g_u >= 0``
    and ``sum m d g_c >= 0``; with positive weights every coordinate with ``g_u g_c >= 0`` does, so those are kept.
    """
    order = descending(forget * retain)
    sums = [(step * gradient)[order].cumsum(0, dtype=torch.float64) for gradient in (forget, retain)]
    positions = torch.arange(1, len(order) + 1, device=order.device)
    kept = ((torch.minimum(*sums) >= 0) * positions).max()  # the longest prefix that helps both; 0 where none does
    return torch.empty_like(order, dtype=torch.bool).scatter_(0, order, positions <= kept)


def descending(values: Tensor) -> Tensor:
    """Positions (n,) of the values from the largest to the smallest; ties fall alike wherever values are alike."""
    if values.device.type == "cpu":  # numpy sorts with vector instructions, several times as fast as torch
        return torch.from_numpy(np.argsort(-values.to(torch.promote_types(values.dtype, torch.float32)).numpy()))
    return values.argsort(descending=True)
