"""The focus vector and what is made of it (arXiv:2511.02435)."""

from __future__ import annotations

from math import sqrt

import lightning as L
import torch
from torch import Tensor

from ..errors import UserError
from ..runtime.common_random import CommonRandom
from .coordinates import CoordinateFactors, facts_of
from .opt import Scope, require_both_weights, searched


class Focus(CoordinateFactors):
    """Scale each coordinate of the step by the probability that both true gradients have the same sign there.

    From the batch gradients ``g_u`` of the forget loss and ``g_c`` of the retain loss the focus vector is

        w = p q + (1 - p) (1 - q),  p = Phi(z_u),  q = Phi(z_c),  z = g / sqrt(V + 1e-8)

    with Phi the standard normal distribution and V a running second moment, ``V <- rho V + (1 - rho) g^2`` from 0.
    With ``Phi(z) = (1 + erf(z / sqrt 2)) / 2`` that is ``w = (1 + erf(z_u / sqrt 2) erf(z_c / sqrt 2)) / 2``.

    Curves beyond those of ``CoordinateFactors``: ``w_mean``, and the histogram of w as ``w_0.0`` ... ``w_0.9``, the
    share of the coordinates from that value to a tenth above.

    Args:
        rho: memory of the running moment, in [0, 1).
        centred: V is the running variance, the second moment less the square of a running mean.
    """

    name = "focus"

    def __init__(self, rho: float = 0.9, centred: bool = False) -> None:
        if not 0 <= rho < 1:
            raise UserError(f"addon.{self.name}.rho={rho} is the memory of a running mean: it must lie in [0, 1)")
        self.rho, self.centred = rho, centred
        self.moments: dict[str, Tensor] = {}  # "forget" and "retain"; centred, also "forget_mean" and "retain_mean"
        self.w = torch.empty(0)

    def factor(self, method: L.LightningModule, combined: Tensor, forget: Tensor, retain: Tensor) -> Tensor:
        self.w = self.focus_vector(forget, retain)
        return self.weighed(self.w)

    def weighed(self, w: Tensor) -> Tensor:
        """The factor that w makes."""
        return w

    def focus_vector(self, forget: Tensor, retain: Tensor) -> Tensor:
        """w, (n,) in [0, 1], of the gradients of this step; moves the running moments."""
        agreement = self.sign_surplus("forget", forget).mul_(self.sign_surplus("retain", retain))
        return agreement.add_(1.0).mul_(0.5)

    def sign_surplus(self, stream: str, gradient: Tensor) -> Tensor:
        """``2 Phi(z) - 1 = erf(z / sqrt 2)``, the chance of a positive sign less that of a negative one; (n,)."""
        second = self.running(stream, gradient).mul_(self.rho).addcmul_(gradient, gradient, value=1 - self.rho)
        if self.centred:
            mean = self.running(f"{stream}_mean", gradient).lerp_(gradient, 1 - self.rho)
            second = second.addcmul(mean, mean, value=-1).clamp_min_(0.0)
        return second.add(1e-8).rsqrt_().mul_(gradient).mul_(1 / sqrt(2)).erf_()

    def running(self, name: str, like: Tensor) -> Tensor:
        """A running moment, on the device of the gradients; 0 at first."""
        self.moments[name] = self.moments[name].to(like) if name in self.moments else torch.zeros_like(like)
        return self.moments[name]

    def diagnostics(self) -> dict[str, Tensor]:
        below = [(self.w < tenth / 10).sum() for tenth in range(11)]
        below[10].fill_(len(self.w))  # the last bin has its upper end
        shares = torch.stack(below).diff() / len(self.w)
        return {"w_mean": self.w.mean()} | {f"w_{k / 10}": share for k, share in enumerate(shares)}

    def state_dict(self) -> dict[str, Tensor]:
        return dict(self.moments)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.moments = dict(state)


class Prob(Focus):
    """Drop the coordinates on whose sign both true gradients agree with a probability below ``tau``.

    The factor is ``m = 1[w >= tau]`` of the focus vector ``w`` (see ``Focus``); ``tau`` is a probability, no quantile.
    """

    name = "prob"

    def __init__(self, tau: float = 0.3, rho: float = 0.9, centred: bool = False) -> None:
        super().__init__(rho, centred)
        if not 0 <= tau <= 1:
            raise UserError(f"addon.prob.tau={tau} is a probability: it must lie in [0, 1]")
        self.tau = tau

    def weighed(self, w: Tensor) -> Tensor:
        return w >= self.tau


class And(CoordinateFactors):
    """Drop the coordinates in which the gradients of the two batches have opposite signs.

    It is ``Prob`` with ``tau = 1/2``, as ``w >= 1/2`` exactly where ``g_u g_c >= 0``, and so needs no running moments.
    """

    name = "and"

    def factor(self, method: L.LightningModule, combined: Tensor, forget: Tensor, retain: Tensor) -> Tensor:
        return forget.sign() * retain.sign() >= 0  # the product of the gradients themselves may underflow


class FocusOpt(Focus):
    """Focus, then the deterministic feasible update for the gradients as the focus vector scales them.

    The step is ``m w d`` with the mask ``m`` of ``Opt`` for the gradients ``w g_u`` and ``w g_c``: its inner products
    with these two are not negative. For such a guarantee about ``g_u`` and ``g_c`` themselves stack ``[focus,opt]``.

    Curves beyond those of ``Focus``: what ``Opt`` would draw if it were given the scaled gradients, as ``opt/...``.

    Args:
        scope: of the search; see ``Opt``.
        rho: see ``Focus``; so is ``centred``.
    """

    name = "focus_opt"

    def __init__(self, scope: Scope = "global", rho: float = 0.9, centred: bool = False) -> None:
        super().__init__(rho, centred)
        self.scope = scope

    def check(self, method: L.LightningModule) -> None:
        super().check(method)
        require_both_weights(self, method)

    def factor(self, method: L.LightningModule, combined: Tensor, forget: Tensor, retain: Tensor) -> Tensor:
        w = super().factor(method, combined, forget, retain)
        step, scaled = w * combined, {"forget": w * forget, "retain": w * retain}
        mask = searched(self.scope, method, step, *scaled.values())
        self.search = facts_of(mask, step, step * mask, scaled)
        return w * mask

    def diagnostics(self) -> dict[str, Tensor]:
        return super().diagnostics() | {f"opt/{name}": value for name, value in self.search.items()}


class Bernoulli(Focus):
    """Keep each coordinate of the step with the probability that both true gradients have the same sign there.

    The factor is ``m ~ Bernoulli(w)`` of the focus vector ``w`` (see ``Focus``), the same in all processes.
    """

    name = "bernoulli"

    def __init__(self, rho: float = 0.9, centred: bool = False) -> None:
        super().__init__(rho, centred)
        self.random = CommonRandom(self.name)

    def weighed(self, w: Tensor) -> Tensor:
        return torch.rand(w.shape, generator=self.random.on(w.device), device=w.device, dtype=w.dtype) < w

    def state_dict(self) -> dict[str, Tensor]:
        return super().state_dict() | self.random.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.random.load_state_dict(state)
        super().load_state_dict({name: tensor for name, tensor in state.items() if name != "random"})


class Focal(Focus):
    """Scale each coordinate of the step by a power ``w^k`` of the focus vector, which spares the doubtful ones more.

    See ``Focus`` for ``w``.
    """

    name = "focal"

    def __init__(self, power: float = 5.0, rho: float = 0.9, centred: bool = False) -> None:
        super().__init__(rho, centred)
        if power < 0:
            raise UserError(f"addon.focal.power={power} must not be negative")
        self.power = power

    def weighed(self, w: Tensor) -> Tensor:
        return w.pow(self.power)
