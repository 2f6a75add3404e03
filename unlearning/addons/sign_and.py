"""The mask of agreeing signs (arXiv:2511.02435)."""

from __future__ import annotations

from torch import Tensor

from ..types import Steps
from .coordinates import CoordinateFactors


class And(CoordinateFactors):
    """Drop the coordinates in which the gradients of the two batches have opposite signs.

    This is ``Prob`` with ``tau = 1/2``: since ``w >= 1/2`` exactly where ``g_u g_c >= 0``, it needs no running moments.
    """

    name = "and"

    def factor(self, method: Steps, combined: Tensor, forget: Tensor, retain: Tensor) -> Tensor:
        return forget.sign() * retain.sign() >= 0  # the product of the gradients themselves may underflow
