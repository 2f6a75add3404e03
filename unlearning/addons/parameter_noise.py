"""Langevin noise on the weights (Welling & Teh, ICML 2011)."""

from __future__ import annotations

from typing import Any

import torch

from ..runtime.common_random import CommonRandom
from ..types import Positive, Steps
from .base import Addon


class ParameterNoise(Addon):
    """Add noise to the weights after every step, with the variance of Langevin dynamics at a temperature.

    ``theta <- theta + sqrt(2 eta T) N(0, 1)`` with eta the current learning rate: under plain SGD on a loss U the
    distribution of the weights approaches ``exp(-U / T)``. The noise is the same in all processes.

    Args:
        temperature: T; for a loss that is a mean over N samples, 1 / N is that of the posterior.
    """

    def __init__(self, temperature: Positive = 1e-6) -> None:
        self.temperature, self.random = temperature, CommonRandom("parameter_noise")

    def after_step(self, method: Steps, optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                # drawn in logical order, so that the memory format does not decide which weight gets which number
                noise = torch.randn(
                    parameter.shape,
                    generator=self.random.on(parameter.device),
                    device=parameter.device,
                    dtype=parameter.dtype,
                )
                parameter.add_(noise * (2 * group["lr"] * self.temperature) ** 0.5)

    def state_dict(self) -> dict[str, Any]:
        return self.random.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.random.load_state_dict(state_dict)
