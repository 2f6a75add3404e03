"""The common part of the add-ons of feasible updates (arXiv:2511.02435): a factor for each coordinate of the step."""

from __future__ import annotations

import torch
from torch import Tensor

from ..types import Gradients, Steps
from .base import Addon


class CoordinateFactors(Addon):
    """Multiplies each coordinate of the step by a factor that depends on the forget and the retain gradient.

    Every step has a forget batch with gradient ``g_u`` of the forget loss, and a retain batch with gradient ``g_c``;
    with ``b`` the method's ``retain_weight`` and ``a`` its ``forget_weight`` the step is ``d = b g_c + a g_u``.

    A method whose steps do not have both gradients is refused: one that uses the forget or the retain set alone, and
    one that draws samples of both in one batch (``train``) or in alternating passes. For most of these add-ons no
    factor is defined then; where it would be 1 (``Opt``), the run would be reported as ``finetune+opt`` and yet be the
    same as ``finetune``.

    Curves, under the add-on's ``name``: ``mask_ratio``, the mean of the factor, and ``retain_before``,
    ``retain_after``, ``forget_before``, ``forget_after``, the inner products of the step with ``g_c`` and with ``g_u``
    before and after the factor. A negative one means that the step raises, to first order, the loss of that batch.
    """

    name: str
    splits_gradients = True
    needs = ("forget", "retain")

    def factor(self, method: Steps, combined: Tensor, forget: Tensor, retain: Tensor) -> Tensor:
        """The factors (n,), bool or in [0, 1], from the step so far and the gradients of the two batches, all (n,)."""
        raise NotImplementedError

    def combine(self, method: Steps, combined: Tensor, gradients: Gradients) -> Tensor:
        factor = self.factor(method, combined, gradients["forget"], gradients["retain"])
        chosen = combined * factor
        for name, value in (facts_of(factor, combined, chosen, gradients) | self.diagnostics()).items():
            method.curves[f"{self.name}/{name}"].append(value)
        return chosen

    def diagnostics(self) -> dict[str, Tensor]:
        """Further scalars of the latest step, by curve."""
        return {}


def facts_of(factor: Tensor, step: Tensor, chosen: Tensor, gradients: Gradients) -> dict[str, Tensor]:
    """Scalars by curve: the mean factor, and the inner products of ``step`` and of ``chosen`` with both gradients."""
    found = {"mask_ratio": factor.mean(dtype=step.dtype)}
    for stream in ("retain", "forget"):
        for when, vector in (("before", step), ("after", chosen)):
            found[f"{stream}_{when}"] = torch.dot(vector, gradients[stream])
    return found
