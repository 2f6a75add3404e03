"""Compare methods by one metric: paired over seeds within a setting, and by mean ranks over settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np

from .groups import Group, frozen, partitioned
from .runs import CONTROLS, Run
from .statistics import critical_difference, friedman, holm, paired_test, ranks
from .verdicts import p


def compared(groups: Sequence[Group], metric: str, arrows: Mapping[str, str]) -> list[str]:
    """Lines on the unlearned groups: paired tests in each setting, then mean ranks over the settings.

    Args:
        groups: of all settings.
        metric: one for which it is known which side is good.
        arrows: by metric, as in a report.
    """
    settings = {
        there[0].setting: {group.label: costs(group.runs, metric, arrows.get(metric, "")) for group in there}
        for there in partitioned((group for group in groups if competes(group)), lambda g: g.setting)
    }
    settings = {name: {m: found for m, found in there.items() if found} for name, there in settings.items()}
    lines = [f"paired tests of {metric} over seeds (Student t, p by Holm); the best was chosen by the same runs"]
    for name, there in settings.items():
        lines += paired(name, there)
    return [*lines, *ranked(list(settings.values()))]


def competes(group: Group) -> bool:
    """Whether a group is of a method that unlearns: no reference model, and no control."""
    return group.row == "unlearned" and group.runs[0].method not in CONTROLS


def costs(runs: Sequence[Run], metric: str, arrow: str) -> dict[str, float]:
    """How bad each run is, by its seeds: the distance to the retrained model where that is what counts."""
    found: dict[str, float] = {}
    for run in runs:
        value = run.values["unlearned"].get(f"gap/{metric}" if arrow == "→" else metric)
        if value is not None:
            found[frozen(run.seeds)] = {"↑": -value, "↓": value}.get(arrow, abs(value))
    return found


def paired(setting: str, methods: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The best method of a setting against each of the others, over the seeds that both have."""
    if len(methods) < 2:
        return [f"  {setting}: one method"]
    best = min(methods, key=lambda m: fmean(methods[m].values()))
    own, tests = methods[best], {}
    for method, theirs in methods.items():
        if method != best:
            tests[method] = paired_test([theirs[seed] - own[seed] for seed in theirs if seed in own])
    known = [method for method, found in tests.items() if found.n > 1]
    corrected = dict(zip(known, holm([tests[method].p for method in known]), strict=True))
    lines = [f"  {setting}: best: {best}"]
    for method, found in tests.items():
        shared = f"n={found.n} shared seeds"
        said = f"{found.mean:+.3f}, {p(corrected[method])}, {shared}" if method in corrected else f"{shared}: no test"
        lines.append(f"    {method}: {said}")
    return lines


def ranked(settings: Sequence[Mapping[str, Mapping[str, float]]]) -> list[str]:
    """Mean ranks over the settings of the methods that all of them have, and which are not told apart (Nemenyi)."""
    shared = [m for m in (settings[0] if settings else {}) if all(m in there for there in settings)]
    if len(settings) < 2 or len(shared) < 2:
        return ["no mean ranks: they take two settings with two methods in common"]
    table = np.array([[fmean(there[method].values()) for method in shared] for there in settings])
    means = dict(sorted(zip(shared, ranks(table).mean(0), strict=True), key=lambda item: item[1]))
    critical = critical_difference(len(shared), len(settings))
    order = list(means)
    ends = [max(i for i, m in enumerate(order) if means[m] - means[first] <= critical) for first in order]
    alike = [order[i : end + 1] for i, end in enumerate(ends) if end > i and (i == 0 or ends[i - 1] < end)]
    return [
        f"mean ranks over {len(settings)} settings (1 is best): {', '.join(f'{m} {r:.2f}' for m, r in means.items())}",
        f"Friedman {p(friedman(table))}; critical difference {critical:.2f} (Nemenyi, .05)",
        *(f"not told apart: {', '.join(names)}" for names in alike),
    ]
