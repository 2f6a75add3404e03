"""The noise floor: how far apart the retrained models of different seeds are, and each gap in units of that."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
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
    sizes = ", ".join(f"{name} {size(floor[name]):.3f} (n={len(floor[name])})" for name in there)
    texts = [f"noise floor, one sigma of the gap of a retrained model, from runs of method={FLOOR}: {sizes}"]
    for group in groups:
        own = in_sigmas(group, floor)
        found = {name: own[name] for name in there if name in own}
        parts = [f"{name}: no noise" if value is None else f"{name} {value:.1f}" for name, value in found.items()]
        if parts:
            texts.append(f"{group.label}: gaps in sigmas (1 is noise; root mean square): {', '.join(parts)}")
    return texts


def in_sigmas(group: Group, floor: Mapping[str, Sequence[float]]) -> dict[str, float | None]:
    """The root mean square of a group's gaps in units of the floor's; None where the floor has no spread.

    Empty for references, and for the floor itself.
    """
    if group.row != "unlearned" or group.runs[0].method == FLOOR:
        return {}
    found: dict[str, float | None] = {}
    for name, noise in floor.items():
        gaps = [v for run in group.runs if (v := run.values["unlearned"].get(GAP + name)) is not None]
        if gaps:
            found[name] = size(gaps) / size(noise) if size(noise) else None
    return found


def sigmas(groups: Iterable[Group]) -> list[tuple[Group, dict[str, float | None]]]:
    """The gaps of each group in sigmas, by metric without ``gap/``; the groups are of any settings."""
    found = []
    for alike in partitioned(groups, lambda group: (group.setting, recipe(group))):
        floor = noise_floor(alike)
        found += [(group, in_sigmas(group, floor)) for group in alike]
    return found
