"""Potion, a search for how much to dampen (Schoepf et al., 2024, arXiv:2406.09173)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..gradients.importance import percentile, sorted_ratios
from ..gradients.vectors import flatten, trainable
from ..types import AboveOne, Count, Probability
from .assd import percentile_for
from .dampening import Dampening


class Potion(Dampening):
    """Dampen as XLF for an ever larger forget set, until few enough samples of the real one are still right.

    PTN search (poison trigger neutralisation): starting from ``s = |D_f| / |D| / 25``, the original weights are
    dampened with the percentile ``p = 100 - ln(1 + 100 s)`` and ``lam = 1``, and s grows by ``growth``, until the
    accuracy on the forget set is at most ``rho`` times the original's. The accuracy is with respect to the labels of
    the data; for poisoned samples these are the labels of the poison. Importances are computed once. A try costs
    forward passes over the forget set, which end as soon as too many samples are still right.

    Args:
        model: as in ``Method``.
        rho: the fraction of the forget accuracy that may remain.
        growth: factor of s from one try to the next.
        tries: the largest number of tries; the last one is kept, and the run is told with a note.
        measure: the importance: that of XLF (``norm``), as the paper proposes, of ALFSSD (``squared_norm``), or of ASSD
            (``cross_entropy``).
        options: those of ``Dampening``.
    """

    stronger = {"rho": "smaller"}

    def __init__(
        self,
        model: nn.Module,
        rho: Probability = 0.2,
        growth: AboveOne = 1.1,
        tries: Count = 500,
        measure: Literal["cross_entropy", "squared_norm", "norm"] = "norm",
        **options: Any,
    ) -> None:
        self.measure = measure
        super().__init__(model, **options)
        self.rho, self.growth, self.tries = rho, growth, tries

    def edit(self) -> None:
        original = flatten(trainable(self.model))
        forget, reference = self.importances()
        ratios = sorted_ratios(forget, reference)
        allowed = self.rho * self.correct() + 1e-9  # .29 of 100 is 28.999999999999996 in floating point
        share = self.forget_share / 25
        for _ in range(self.tries):
            percent = max(percentile_for(share), 0.0)  # 0: all weights that matter to the forget set
            self.alpha = percentile(ratios, percent)
            self.dampen(original, forget, reference, self.alpha)
            self.curves["percentile"].append(torch.tensor(percent))
            reached = self.correct(at_most=allowed) <= allowed
            if reached or percent == 0:
                break
            share *= self.growth
        self.curves["reached"].append(torch.tensor(float(reached)))

    @staticmethod
    def remarks(last: Mapping[str, float], options: Mapping[str, Any], sizes: Mapping[str, int]) -> Iterator[str]:
        if not last.get("reached", 1.0):
            yield (
                f"potion ended at percentile {last['percentile']:.2f} with more than method.rho={options['rho']:g} of "
                "the original's forget accuracy"
            )

    def threshold(self, forget: Tensor, reference: Tensor) -> Tensor:
        return self.alpha

    def correct(self, at_most: float = float("inf")) -> int:
        """Number of forget samples that the model gets right; counting ends once there are more than ``at_most``."""
        right = 0
        for batch in self.look("forget"):
            right += int((self.model(batch.images).argmax(1) == batch.labels).sum())
            if right > at_most:
                break
        return right
