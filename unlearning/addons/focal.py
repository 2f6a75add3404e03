"""Powers of the focus vector (arXiv:2511.02435)."""

from __future__ import annotations

from torch import Tensor

from ..types import NonNegative
from .focus import Focus, Rho, Weighs


class Focal(Focus):
    """Scale each coordinate of the step by a power ``w^k`` of the focus vector, which damps the doubtful ones more.

    See ``Focus`` for ``w``.

    Args:
        power: k; 1 is ``Focus``, 0 leaves the step as it is.
        rho, rho_weighs, centred: as in ``Focus``.
    """

    name = "focal"

    def __init__(
        self, power: NonNegative = 5.0, rho: Rho = 0.9, rho_weighs: Weighs = "new", centred: bool = False
    ) -> None:
        super().__init__(rho, rho_weighs, centred)
        self.power = power

    def weighed(self, w: Tensor) -> Tensor:
        return w.pow(self.power)
