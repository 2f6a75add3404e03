"""The focus vector, then the deterministic feasible update (arXiv:2511.02435)."""

from __future__ import annotations

from torch import Tensor

from ..types import Steps
from .coordinates import facts_of
from .focus import Focus, Rho, Weighs
from .opt import Scope, require_both_weights, searched


class FocusOpt(Focus):
    """Focus, then the deterministic feasible update for the gradients as the focus vector scales them.

    The step is ``m w d`` with the mask ``m`` of ``Opt`` for the gradients ``w g_u`` and ``w g_c``: its inner products
    with these two are not negative. For such a guarantee about ``g_u`` and ``g_c`` themselves stack ``[focus,opt]``.

    Curves beyond those of ``Focus``: those that ``Opt`` would draw if it were given the scaled gradients, as
    ``opt/...``.

    Args:
        scope: of the search; see ``Opt``.
        rho, rho_weighs, centred: as in ``Focus``.
    """

    name = "focus_opt"

    def __init__(
        self, scope: Scope = "global", rho: Rho = 0.9, rho_weighs: Weighs = "new", centred: bool = False
    ) -> None:
        super().__init__(rho, rho_weighs, centred)
        self.scope = scope
        self.search: dict[str, Tensor] = {}  # scalars of the latest search, by curve

    def check(self, method: Steps) -> None:
        super().check(method)
        require_both_weights(self, method)

    def factor(self, method: Steps, combined: Tensor, forget: Tensor, retain: Tensor) -> Tensor:
        w = super().factor(method, combined, forget, retain)
        step, scaled = w * combined, {"forget": w * forget, "retain": w * retain}
        mask = searched(self.scope, method, step, *scaled.values())
        self.search = facts_of(mask, step, step * mask, scaled)
        return w * mask

    def diagnostics(self) -> dict[str, Tensor]:
        return super().diagnostics() | {f"opt/{name}": value for name, value in self.search.items()}
