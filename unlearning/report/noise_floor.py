"""The noise floor: how far apart the retrained models of different seeds are, and each gap in units of that."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeVar

from ..metrics.directions import MEAN_OVER
from .groups import Group
from .runs import Run

K = TypeVar("K")
V = TypeVar("V")
FLOOR = "retrain"  # the method whose gaps are noise
GAP = "gap/"


@dataclass(frozen=True)
class NoiseFloor:
    """The standard deviation of the gap between two retrained models, by metric without ``gap/``.

    Args:
        sigma: by metric.
        source: what it is from.
    """

    sigma: dict[str, float]
    source: str

    def sigmas(self, metric: str, gap: float) -> float:
        """A gap in standard deviations of the noise; infinite where the noise has none, NaN without a floor."""
        sigma = self.sigma.get(metric, math.nan)
        return gap / sigma if sigma else (0.0 if gap == 0 else math.copysign(math.inf, gap))


def noise_floor(groups: Iterable[Group]) -> NoiseFloor | None:
    """The noise floor of one setting; None with fewer than two runs of ``method=retrain`` and no two retrained models.

    The gaps of ``method=retrain`` are differences of two retrained models, with mean 0: sigma is the root of their mean
    square. Without such runs it is the deviation of the retrained models that learned the same samples, times sqrt 2.
    """
    groups = list(groups)
    controls = [group for group in groups if group.row == "unlearned" and group.runs[0].method == FLOOR]
    runs = max((group.runs for group in controls), key=len, default=[])
    if len(runs) > 1:
        values = [item for run in runs for item in run.values["unlearned"].items()]
        gaps = collected((name.removeprefix(GAP), value) for name, value in values if name.startswith(GAP))
        sigma = {name: math.sqrt(fmean(v * v for v in there)) for name, there in gaps.items() if len(there) > 1}
        return NoiseFloor(sigma, f"{len(runs)} runs of method={FLOOR}")
    return of_references([run for group in groups if group.row == "retrained" for run in group.runs])


def of_references(runs: Sequence[Run]) -> NoiseFloor | None:
    """The noise floor from the retrained models, of which each counts once; within the splits that have several."""
    alike = collected((run.result.get("data", {}).get("split"), run) for run in runs)
    several = [found for split, found in alike.items() if split is not None and len(found) > 1]
    if not several:
        return None
    squares: dict[str, list[float]] = defaultdict(list)
    degrees: dict[str, int] = defaultdict(int)
    for found in several:
        for name, values in collected(item for run in found for item in run.values["retrained"].items()).items():
            mean = fmean(values)
            squares[name] += [(value - mean) ** 2 for value in values]
            degrees[name] += len(values) - 1
    sigma = {name: math.sqrt(2 * math.fsum(squares[name]) / n) for name, n in degrees.items() if n}
    return NoiseFloor(sigma, f"{sum(map(len, several))} retrained models")


def collected(items: Iterable[tuple[K, V]]) -> dict[K, list[V]]:
    """The values of each key."""
    found: dict[K, list[V]] = defaultdict(list)
    for key, value in items:
        found[key].append(value)
    return found


def notes_on_noise(groups: Sequence[Group]) -> list[str]:
    """One sigma of each gap in ``gap/mean``, and those gaps of each method in sigmas; none without a floor."""
    floor = noise_floor(groups)
    if floor is None:
        return []
    there = [name for name in MEAN_OVER if name in floor.sigma]
    sizes = ", ".join(f"{name} {floor.sigma[name]:.3f}" for name in there)
    texts = [f"noise floor, one sigma of the gap of a retrained model, from {floor.source}: {sizes}."]
    for group in groups:
        if group.row != "unlearned" or group.runs[0].method == FLOOR:
            continue
        parts = []
        for name in there:
            gaps = [v for run in group.runs if (v := run.values["unlearned"].get(GAP + name)) is not None]
            if gaps:
                parts.append(f"{name} {floor.sigmas(name, fmean(gaps)):+.1f}")
        if parts:
            texts.append(f"{group.label}: mean gaps in sigmas: {', '.join(parts)}.")
    return texts
