"""The random mask (arXiv:2511.02435)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..runtime.common_random import CommonRandom
from .focus import Focus, Rho, Weighs


class Bernoulli(Focus):
    """Keep each coordinate of the step with the probability that both true gradients have the same sign there.

    The factor is ``m ~ Bernoulli(w)`` of the focus vector ``w`` (see ``Focus``), the same in all processes.

    Args:
        rho, rho_weighs, centred: as in ``Focus``.
    """

    name = "bernoulli"

    def __init__(self, rho: Rho = 0.9, rho_weighs: Weighs = "new", centred: bool = False) -> None:
        super().__init__(rho, rho_weighs, centred)
        self.random = CommonRandom(self.name)

    def weighed(self, w: Tensor) -> Tensor:
        return torch.rand(w.shape, generator=self.random.on(w.device), device=w.device, dtype=w.dtype) < w

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | self.random.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.random.load_state_dict(state_dict)
        super().load_state_dict({name: tensor for name, tensor in state_dict.items() if name != "random"})
