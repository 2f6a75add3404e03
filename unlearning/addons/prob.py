"""The probabilistic mask (arXiv:2511.02435)."""

from __future__ import annotations

from torch import Tensor

from ..types import Probability
from .focus import Focus, Rho, Weighs


class Prob(Focus):
    """Drop the coordinates on whose sign both true gradients agree with a probability below ``tau``.

    The factor is ``m = 1[w >= tau]`` of the focus vector ``w`` (see ``Focus``).

    Args:
        tau: the threshold: a probability, not a quantile.
        rho, rho_weighs, centred: as in ``Focus``.
    """

    name = "prob"

    def __init__(
        self, tau: Probability = 0.3, rho: Rho = 0.9, rho_weighs: Weighs = "new", centred: bool = False
    ) -> None:
        super().__init__(rho, rho_weighs, centred)
        self.tau = tau

    def weighed(self, w: Tensor) -> Tensor:
        return w >= self.tau
