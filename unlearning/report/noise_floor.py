"""The noise floor: how far apart the retrained models of different seeds are, and each gap in units of that."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import TypeVar

from ..config.groups import REFERENCE_FREE
from ..metrics.directions import MEAN_OVER
from .groups import Group, frozen, partitioned
from .runs import group_of, text_of

K = TypeVar("K")
V = TypeVar("V")
FLOOR = "retrain"  # the method whose gaps are noise
GAP = "gap/"


def noise_floor(groups: Iterable[Group]) -> dict[str, list[float]]:
    """The gaps of the runs of ``method=retrain`` by metric, without ``gap/``: differences of two retrained models.

    They have mean 0, so the root of their mean square is one sigma, of the gap of one run. Metrics with fewer than two
    gaps are left out.
    """
    runs = [run for group in groups if group.row == "unlearned" and group.runs[0].method == FLOOR for run in group.runs]
    values = [item for run in runs for item in run.values["unlearned"].items()]
    gaps = collected((name.removeprefix(GAP), value) for name, value in values if name.startswith(GAP))
    return {name: there for name, there in gaps.items() if len(there) > 1}


def size(gaps: Iterable[float]) -> float:
    """The root of the mean square."""
    return math.sqrt(fmean(gap * gap for gap in gaps))


def recipe(group: Group) -> str:
    """What a group's reference models were made with: only the noise of the same recipe is a floor for it."""
    free = (*REFERENCE_FREE, "evaluation")
    return frozen({key: text_of(value) for key, value in group.decisive.items() if group_of(key) not in free})


def collected(items: Iterable[tuple[K, V]]) -> dict[K, list[V]]:
    """The values of each key."""
    found: dict[K, list[V]] = defaultdict(list)
    for key, value in items:
        found[key].append(value)
    return found


def notes_on_noise(groups: Sequence[Group]) -> list[str]:
    """One sigma of each gap in ``gap/mean``, and the gaps of each method in sigmas; none without a floor."""
    return [note for alike in partitioned(groups, recipe) for note in notes_on(alike)]


def notes_on(groups: Sequence[Group]) -> list[str]:
    """The notes on groups of one recipe."""
    floor = noise_floor(groups)
    there = [name for name in MEAN_OVER if name in floor]
    if not there:
        return []
    sigmas = {name: size(floor[name]) for name in there}
    sizes = ", ".join(f"{name} {sigmas[name]:.3f} (n={len(floor[name])})" for name in there)
    texts = [f"noise floor, one sigma of the gap of a retrained model, from runs of method={FLOOR}: {sizes}"]
    for group in groups:
        if group.row != "unlearned" or group.runs[0].method == FLOOR:
            continue
        parts = []
        for name in there:
            gaps = [v for run in group.runs if (v := run.values["unlearned"].get(GAP + name)) is not None]
            if gaps:
                parts.append(f"{name} {size(gaps) / sigmas[name]:.1f}" if sigmas[name] else f"{name}: no noise")
        if parts:
            texts.append(f"{group.label}: gaps in sigmas (1 is noise; root mean square): {', '.join(parts)}")
    return texts
