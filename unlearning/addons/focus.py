"""The focus vector (arXiv:2511.02435)."""

from __future__ import annotations

from math import sqrt
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Lt
from torch import Tensor

from ..types import Steps
from .coordinates import CoordinateFactors

Rho = Annotated[float, Ge(0), Lt(1)]
Weighs = Literal["new", "old"]


class Focus(CoordinateFactors):
    """Scale each coordinate of the step by the probability that both true gradients have the same sign there.

    From the batch gradients ``g_u`` of the forget loss and ``g_c`` of the retain loss the focus vector is

        w = p q + (1 - p) (1 - q),  p = Phi(z_u),  q = Phi(z_c),  z = g / sqrt(V + 1e-8)

    with Phi the standard normal distribution and V a running second moment, ``(1 - rho) g^2`` at the first step. In
    the authors' code ``rho`` then weighs the new gradient, ``V <- rho g^2 + (1 - rho) V``, so that with 0.9 V is little
    more than the latest ``g^2``; with ``rho_weighs="old"`` it is a memory, ``V <- (1 - rho) g^2 + rho V``. As
    ``Phi(z) = (1 + erf(z / sqrt 2)) / 2``, ``w = (1 + erf(z_u / sqrt 2) erf(z_c / sqrt 2)) / 2``.

    Curves beyond those of ``CoordinateFactors``: ``w_mean``, and the histogram of w as ``w_0.0`` ... ``w_0.9``, the
    share of the coordinates from that value to a tenth above.

    Args:
        rho: see above.
        rho_weighs: the new squared gradient, or the old moment; see above.
        centred: V is the running variance, which is the second moment minus the square of a running mean, and that has
            the same weights.
    """

    name = "focus"

    def __init__(self, rho: Rho = 0.9, rho_weighs: Weighs = "new", centred: bool = False) -> None:
        self.rho, self.rho_weighs, self.centred = rho, rho_weighs, centred
        self.moments: dict[str, Tensor] = {}  # "forget" and "retain"; centred, also "forget_mean" and "retain_mean"
        self.w = torch.empty(0)

    def factor(self, method: Steps, combined: Tensor, forget: Tensor, retain: Tensor) -> Tensor:
        self.w = self.focus_vector(forget, retain)
        return self.weighed(self.w)

    def weighed(self, w: Tensor) -> Tensor:
        """The factors (n,) as a function of w."""
        return w

    def focus_vector(self, forget: Tensor, retain: Tensor) -> Tensor:
        """Update the running moments by the gradients of this step and return w, (n,) in [0, 1]."""
        agreement = self.sign_surplus("forget", forget).mul_(self.sign_surplus("retain", retain))
        return agreement.add_(1.0).mul_(0.5)

    def sign_surplus(self, stream: str, gradient: Tensor) -> Tensor:
        """``2 Phi(z) - 1 = erf(z / sqrt 2)``, the probability of a positive sign minus that of a negative one; (n,)."""
        new = self.rho if self.rho_weighs == "new" and stream in self.moments else 1 - self.rho
        second = self.running(stream, gradient).mul_(1 - new).addcmul_(gradient, gradient, value=new)
        if self.centred:
            mean = self.running(f"{stream}_mean", gradient).lerp_(gradient, new)
            second = second.addcmul(mean, mean, value=-1).clamp_min_(0.0)
        return second.add(1e-8).rsqrt_().mul_(gradient).mul_(1 / sqrt(2)).erf_()

    def running(self, name: str, like: Tensor) -> Tensor:
        """A running moment (n,), on the device of the gradients; 0 at first."""
        self.moments[name] = self.moments[name].to(like) if name in self.moments else torch.zeros_like(like)
        return self.moments[name]

    def diagnostics(self) -> dict[str, Tensor]:
        below = [(self.w < tenth / 10).sum() for tenth in range(11)]
        below[10].fill_(len(self.w))  # the last bin includes its upper end
        shares = torch.stack(below).diff() / len(self.w)
        return {"w_mean": self.w.mean()} | {f"w_{k / 10}": share for k, share in enumerate(shares)}

    def state_dict(self) -> dict[str, Any]:
        return dict(self.moments)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.moments = dict(state_dict)
