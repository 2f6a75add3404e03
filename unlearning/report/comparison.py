"""Compare methods by one metric: paired over seeds within a setting, and by mean ranks over settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from statistics import fmean

import numpy as np

from ..metrics.directions import CORRECTED
from .groups import Group, frozen, partitioned
from .rivals import Rivals, notes_of, rivals
from .runs import CONTROLS, Run
from .statistics import critical_difference, friedman, holm, paired_test, ranks
from .verdicts import corrective, p

Costs = Mapping[str, Mapping[str, float]]  # how bad each run is, by method and by seeds


@dataclass(frozen=True)
class Against:
    """A method beside the best of its setting: the mean difference of cost, p by Holm, and the seeds both have.

    There is no p with fewer than two of these, and without any spread.
    """

    method: str
    mean: float
    p: float | None
    shared: int


@dataclass(frozen=True)
class Ranks:
    """Mean ranks of methods over settings, the best first.

    Args:
        metric: by which they are ranked.
        means: mean rank by method.
        settings: their number.
        critical: methods whose mean ranks are less apart than this are not told apart (Nemenyi, .05).
        friedman: the p of there being no difference at all.
        alike: the largest sets of methods that are not told apart.
        left_out: methods that not all settings have, with the number of those that do.
    """

    metric: str
    means: Mapping[str, float]
    settings: int
    critical: float
    friedman: float
    alike: Sequence[Sequence[str]]
    left_out: Mapping[str, int]


def compared(groups: Sequence[Group], metric: str, arrows: Mapping[str, str]) -> list[str]:
    """Lines on the unlearned groups: paired tests in each setting, then mean ranks over the settings.

    Args:
        groups: of all settings.
        metric: one for which it is known which side is good.
        arrows: by metric, as in a report.
    """
    lines = [f"paired tests of {metric} over seeds (Student t, p by Holm); the best was chosen by the same runs"]
    said = {name: notes_of(found) for name, found in rivals_of(groups, metric).items()}
    for name, there in by_setting(groups, metric, arrows).items():
        if len(there) < 2:
            lines += [f"  {name}: {'one method' if there else 'no method'}", *(f"    {note}" for note in said[name])]
            continue
        best, others = paired(there)
        lines.append(f"  {name}: best: {best}")
        for other in others:
            shared = f"n={other.shared} shared seeds"
            words = f"{shared}: no test" if other.p is None else f"{other.mean:+.3f}, {p(other.p)}, {shared}"
            lines.append(f"    {other.method}: {words}")
        lines += [f"    {note}" for note in said[name]]
    return [*lines, *lines_of(ranked(groups, metric, arrows))]


def competes(group: Group) -> bool:
    """Whether a group is of a method that unlearns: no reference model, and no control."""
    return group.row == "unlearned" and group.runs[0].method not in CONTROLS


def rivals_of(groups: Sequence[Group], metric: str) -> dict[str, Rivals]:
    """What is ranked by a metric in each setting."""
    parts = partitioned((group for group in groups if competes(group)), lambda g: g.setting)
    return {there[0].setting: rivals(there, metric) for there in parts}


def by_setting(groups: Sequence[Group], metric: str, arrows: Mapping[str, str]) -> dict[str, Costs]:
    """The costs of the ranked methods of each setting, by their labels."""
    settings = {
        name: {group.label: costs(group.runs, metric, arrows.get(metric, "")) for group in found.ranked}
        for name, found in rivals_of(groups, metric).items()
    }
    return {name: {m: found for m, found in there.items() if found} for name, there in settings.items()}


def costs(runs: Sequence[Run], metric: str, arrow: str) -> dict[str, float]:
    """How bad each run is, by its seeds: the distance to the retrained model where that is what counts."""
    found: dict[str, float] = {}
    for run in runs:
        value = run.values["unlearned"].get(f"gap/{metric}" if arrow == "→" else metric)
        if value is not None:
            found[frozen(run.seeds)] = {"↑": -value, "↓": value}.get(arrow, abs(value))
    return found


def mean_cost(group: Group, metric: str, arrow: str) -> float | None:
    """How bad a group is, as rankings and tables have it: the mean over its runs, of absolute gaps where those count.

    None without a value, and where no side of the metric is good. Gaps to either side do not cancel.
    """
    found = costs(group.runs, metric, arrow) if arrow else {}
    return fmean(found.values()) if found else None


def paired(methods: Costs) -> tuple[str, list[Against]]:
    """The best of several methods, and each of the others against it over the seeds that both have."""
    best = min(methods, key=lambda m: fmean(methods[m].values()))
    own, tests = methods[best], {}
    for method, theirs in methods.items():
        if method != best:
            tests[method] = paired_test([theirs[seed] - own[seed] for seed in theirs if seed in own])
    known = [method for method, found in tests.items() if not isnan(found.p)]
    corrected = dict(zip(known, holm([tests[method].p for method in known]), strict=True))
    return best, [Against(method, found.mean, corrected.get(method), found.n) for method, found in tests.items()]


def ranked_by(groups: Sequence[Group], metric: str, arrows: Mapping[str, str]) -> Ranks | None:
    """``ranked`` by a metric; without one by gap/mean, over the settings whose aim is the retrained model.

    Where there is no such setting, it is by corrective/acc_seen.
    """
    plain = [group for group in groups if not corrective(group)]
    if metric or not any(map(competes, plain)):
        return ranked(groups, metric or CORRECTED[0], arrows)
    return ranked(plain, "gap/mean", arrows)


def ranked(groups: Sequence[Group], metric: str, arrows: Mapping[str, str]) -> Ranks | None:
    """Mean ranks over settings of the methods that all of them have; None unless that is two methods in two settings.

    A method is the same in two settings whatever its options there, if one group of it is ranked in each (see
    ``rivals``). Where there are several, their labels tell them apart.
    """
    settings = []
    for there in (found.ranked for found in rivals_of(groups, metric).values()):
        count = Counter(group.runs[0].method for group in there)
        named = {g.runs[0].method if count[g.runs[0].method] == 1 else g.label: g for g in there}
        found = {name: costs(group.runs, metric, arrows.get(metric, "")) for name, group in named.items()}
        settings.append({name: fmean(values.values()) for name, values in found.items() if values})
    settings = [found for found in settings if found]
    times = Counter(name for there in settings for name in there)
    shared = [name for name in times if times[name] == len(settings)]
    if len(settings) < 2 or len(shared) < 2:
        return None
    table = np.array([[there[method] for method in shared] for there in settings])
    means = dict(sorted(zip(shared, map(float, ranks(table).mean(0)), strict=True), key=lambda item: item[1]))
    critical, order = critical_difference(len(shared), len(settings)), list(means)
    ends = [max(i for i, m in enumerate(order) if means[m] - means[first] <= critical) for first in order]
    alike = [order[i : end + 1] for i, end in enumerate(ends) if end > i and (i == 0 or ends[i - 1] < end)]
    left_out = {name: count for name, count in times.items() if name not in means}
    return Ranks(metric, means, len(settings), critical, friedman(table), alike, left_out)


def lines_of(found: Ranks | None) -> list[str]:
    """Mean ranks in words."""
    if found is None:
        return ["no mean ranks: they take two settings with two methods in common"]
    means = ", ".join(f"{method} {rank:.2f}" for method, rank in found.means.items())
    lines = [
        f"mean ranks over {found.settings} settings (1 is best): {means}",
        f"Friedman {p(found.friedman)}; critical difference {found.critical:.2f} (Nemenyi, .05)",
        *(f"not told apart: {', '.join(names)}" for names in found.alike),
    ]
    if found.left_out:
        some = ", ".join(f"{method} ({count} of {found.settings} settings)" for method, count in found.left_out.items())
        lines.append(f"not ranked, since not all settings have them: {some}")
    return lines
