"""Langevin noise on the weights (Welling & Teh, ICML 2011)."""

import lightning as L
import torch
from torch import Tensor

from ..errors import UserError
from ..runtime.common_random import CommonRandom
from .base import Addon


class ParameterNoise(Addon):
    """Add noise to the weights after every step, as much as Langevin dynamics have at a temperature.

    ``theta <- theta + sqrt(2 eta T) N(0, 1)`` with eta the current learning rate: with plain SGD on a loss U the
    weights come to be distributed as ``exp(-U / T)``. The noise is the same in all processes.

    Args:
        temperature: T; for a mean loss over N samples 1 / N would be that of the posterior.
    """

    def __init__(self, temperature: float = 1e-6) -> None:
        if temperature <= 0:
            raise UserError(f"addon.parameter_noise.temperature={temperature} must be above 0")
        self.temperature, self.random = temperature, CommonRandom("parameter_noise")

    def after_step(self, method: L.LightningModule, optimizer: torch.optim.Optimizer) -> None:
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

    def state_dict(self) -> dict[str, Tensor]:
        return self.random.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.random.load_state_dict(state)
