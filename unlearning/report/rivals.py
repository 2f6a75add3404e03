"""Which groups of runs a ranking may compare, so that it compares alike numbers and chooses nothing on test data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from ..metrics.directions import MEAN_OVER, VALIDATED
from .groups import Group, partitioned
from .noise_floor import GAP, recipe
from .verdicts import corrective


@dataclass(frozen=True)
class Rivals:
    """The groups of one setting that are ranked.

    Args:
        ranked: those that are compared with each other.
        unranked: each of the others, with the reason.
        chosen_on_test: methods with several groups of settings in the ranking, the best of which no validation data
            has chosen: their ranks are too good.
    """

    ranked: list[Group] = field(default_factory=list)
    unranked: list[tuple[Group, str]] = field(default_factory=list)
    chosen_on_test: list[str] = field(default_factory=list)

    def why_not(self, group: Group) -> str:
        """Why a group is not ranked; empty where it is."""
        return next((why for other, why in self.unranked if other is group), "")


def rivals(groups: Sequence[Group], metric: str) -> Rivals:
    """What of the competing groups of one setting is ranked by a metric.

    A ranking by ``gap/mean`` takes groups whose runs have the gap of every metric in it. Of several settings of one
    method it takes the one with the lowest mean of ``gap/mean_val``, which has no test sample. Where no setting of the
    method has that, all are ranked. Corrective runs, whose aim is not the retrained model, are not chosen by it.
    """
    found = Rivals()
    whole = []
    for group in groups:
        missing = lacks(group, "gap/mean", MEAN_OVER) if metric == "gap/mean" else ""
        if missing:
            found.unranked.append((group, f"without {missing}, its gap/mean is of other metrics or runs"))
        else:
            whole.append(group)
    for alike in partitioned(whole, lambda group: (group.runs[0].method, recipe(group))):
        costs = {id(group): validated(group) for group in alike}
        best = min(alike, key=lambda group: costs[id(group)])
        if len(alike) == 1 or math.isinf(costs[id(best)]):
            found.ranked.extend(alike)
            if len(alike) > 1:
                found.chosen_on_test.append(best.runs[0].method)
            continue
        found.ranked.append(best)
        for group in (group for group in alike if group is not best):
            cost = costs[id(group)]
            own = "no gap/mean_val" if math.isinf(cost) else f"gap/mean_val {cost:.3f}"
            found.unranked.append((group, f"{own}: {best.label} has {costs[id(best)]:.3f}"))
    return found


def lacks(group: Group, mean: str, over: Sequence[str]) -> str:
    """The first of these gaps that a run with a retrained model lacks, or their mean; empty where none does."""
    rows = [run.values["unlearned"] for run in group.runs if "retrained" in run.values]
    return next((name for name in (*(GAP + one for one in over), mean) for row in rows if name not in row), "")


def validated(group: Group) -> float:
    """The mean of ``gap/mean_val`` over the runs; infinite where one lacks it or one of its gaps."""
    rows = [run.values["unlearned"] for run in group.runs if "retrained" in run.values]
    if not rows or corrective(group) or lacks(group, "gap/mean_val", VALIDATED):
        return math.inf
    return fmean(row["gap/mean_val"] for row in rows)


def notes_of(found: Rivals) -> list[str]:
    """What is not ranked and why, and what was chosen on test data."""
    notes = [f"not ranked: {group.label}: {why}" for group, why in found.unranked]
    if found.chosen_on_test:
        names = ", ".join(dict.fromkeys(found.chosen_on_test))
        notes.append(f"several settings are ranked, so that the best of them was chosen on test data: {names}")
    return notes
