"""What the add-ons of feasible updates share (arXiv:2511.02435): a factor for each coordinate of the step."""

from __future__ import annotations

import lightning as L
import torch
from torch import Tensor

from .base import Addon, Gradients


class CoordinateFactors(Addon):
    """Multiplies each coordinate of the step by a factor that weighs the forget and the retain gradient.

    Every step has a forget batch with gradient ``g_u`` of the forget loss, and a retain batch with gradient ``g_c``;
    with ``b`` the method's ``retain_weight`` and ``a`` its ``forget_weight`` the step is ``d = b g_c + a g_u``.

    A method with one of the two alone has nothing to weigh. For most add-ons no factor is the right one then, and where
    1 is (``Opt``) a run called ``finetune+opt`` that is ``finetune`` would mislead: so it is refused. So are methods
    that draw forget and retain samples in one batch (``train``) or in turns, whose steps have one gradient.

    Curves, under the add-on's ``name``: ``mask_ratio``, the mean of the factor, and ``retain_before``,
    ``retain_after``, ``forget_before``, ``forget_after``, the inner products of the step with ``g_c`` and with ``g_u``
    before and after the factor. A negative one means that the step raises, to first order, that batch's loss.
    """

    name: str
    splits_gradients = True
    needs = ("forget", "retain")

    def factor(self, method: L.LightningModule, combined: Tensor, forget: Tensor, retain: Tensor) -> Tensor:
        """In [0, 1], or bool, by coordinate, from the step so far and the gradients of the two batches."""
        raise NotImplementedError

    def combine(self, method: L.LightningModule, combined: Tensor, gradients: Gradients) -> Tensor:
        factor = self.factor(method, combined, gradients["forget"], gradients["retain"])
        chosen = combined * factor
        for name, value in (facts_of(factor, combined, chosen, gradients) | self.diagnostics()).items():
            method.curves[f"{self.name}/{name}"].append(value)
        return chosen

    def diagnostics(self) -> dict[str, Tensor]:
        """More scalars of the latest step to draw as curves."""
        return {}


def facts_of(factor: Tensor, step: Tensor, chosen: Tensor, gradients: Gradients) -> dict[str, Tensor]:
    """Scalars by curve: the mean of the factor, and the inner products of the step and of what is ``chosen`` of it."""
    found = {"mask_ratio": factor.mean(dtype=step.dtype)}
    for stream in ("retain", "forget"):
        for when, vector in (("before", step), ("after", chosen)):
            found[f"{stream}_{when}"] = torch.dot(vector, gradients[stream])
    return found
