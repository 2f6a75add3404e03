"""Group runs that differ only in seeds: names, means, intervals, and what the intervals are over."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, TypeVar

from ..config.groups import REFERENCE_FREE
from ..metrics.directions import AVERAGE_GAPS
from .runs import REFERENCES, ROWS, SETTING, Run, group_of, is_seed, override, text_of

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
SEEDS = {"seed": "unlearning", "split.seed": "split", "scenario.seed": "scenario", "pretrain.seed": "pretraining"}
FIELDS = ["setting", "method", "row", "metric", "mean", "std", "ci95", "n", "varied", "failed"]
ENDS = ("low", "high")


@dataclass
class Group:
    """Runs that differ only in seeds, as one row of a table."""

    row: str  # one of ROWS
    decisive: dict[str, Any]
    runs: list[Run]
    setting: str
    label: str

    @property
    def gap(self) -> float:
        """Absolute mean of gap/mean over the runs; infinite where there is none."""
        found = [run.values[self.row]["gap/mean"] for run in self.runs if "gap/mean" in run.values[self.row]]
        return abs(fmean(found)) if found else math.inf


def group_runs(runs: Iterable[Run], by: Sequence[str] = ()) -> tuple[list[Group], int]:
    """Groups with their labels, in the tables' order, and how many runs were left out as repeats.

    Of several runs with the same configuration and seeds, the one that finished last counts, and one with a retrained
    model before any without. A reference model counts once, however many methods started from it. ``by`` names further
    keys, seeds included, whose values make separate groups.
    """
    groups: dict[tuple[str, ...], Group] = {}
    counted: set[tuple[tuple[str, ...], str]] = set()
    repeats = 0
    done = [run for run in runs if run.state == "done"]
    for run in sorted(done, key=lambda run: ("retrained" in run.values, run.finished), reverse=True):
        settings = run.decisive | {k: run.lookup(k) for k in by if run.lookup(k) is not None}
        for row in run.values:
            decisive, seeds = ({k: v for k, v in d.items() if decides(k, row)} for d in (settings, run.seeds))
            name = row if row in REFERENCES else run.method
            key = (row, name, *(run.choices[g] for g in SETTING), frozen(decisive))
            if (key, frozen(seeds)) in counted:
                repeats += row == "unlearned"
                continue
            counted.add((key, frozen(seeds)))
            groups.setdefault(key, Group(row, decisive, [], run.place, name)).runs.append(run)
    found = list(groups.values())
    complete_names(found)
    return sorted(found, key=lambda g: (g.setting, ROWS.index(g.row), g.gap, g.label)), repeats


def decides(key: str, row: str) -> bool:
    """Whether a key decides a row. The reference models depend neither on the method nor on the unlearning seed.

    Nor do they depend on the seed of an evaluation, which follows that seed.
    """
    follows = key == "seed" or group_of(key) in REFERENCE_FREE or (is_seed(key) and group_of(key) == "evaluation")
    return row not in REFERENCES or not follows


def frozen(values: Mapping[str, Any]) -> str:
    """A mapping as text that is the same for equal mappings."""
    return json.dumps(values, sort_keys=True)


def complete_names(groups: list[Group]) -> None:
    """Complete the setting and the label of every group with the parameters that distinguish it, and no others."""
    for alike in partitioned(groups, lambda g: g.setting):
        for group, words in zip(alike, differences(alike, lambda k: k in SETTING), strict=True):
            group.setting = " · ".join([group.setting, *words])
    for there in partitioned(groups, lambda g: (g.setting, g.row in REFERENCES)):
        # what surrounds the method is compared over the whole table, its parameters among groups of the same label
        around = differences(there, lambda k: k not in (*REFERENCE_FREE, *SETTING))
        for pairs in partitioned(zip(there, around, strict=True), lambda pair: (pair[0].row, pair[0].label)):
            own = differences([group for group, _ in pairs], lambda k: k in REFERENCE_FREE)
            for (group, outer), inner in zip(pairs, own, strict=True):
                group.label = " ".join([group.label, *inner, *outer])


def partitioned(items: Iterable[T], key: Callable[[T], Any]) -> list[list[T]]:
    """The items in lists of equal keys, in the order in which the keys first occur."""
    parts: dict[Any, list[T]] = defaultdict(list)
    for item in items:
        parts[key(item)].append(item)
    return list(parts.values())


def differences(groups: list[Group], part: Callable[[str], bool]) -> list[list[str]]:
    """The overrides of each group, among the config groups of ``part``, that the groups do not all share.

    Where the choice of a config group implies its leaves, only the choice is named: ``pretrain=long``.
    """
    keys = sorted({k for g in groups for k in g.decisive if part(group_of(k))})
    keys = [k for k in keys if len({text_of(g.decisive.get(k)) for g in groups}) > 1]
    words: list[list[str]] = [[] for _ in groups]
    for name in dict.fromkeys(map(group_of, keys)):
        leaves = [k for k in keys if group_of(k) == name]
        choices = [g.runs[0].choices.get(name) for g in groups]
        told = {(c, frozen({k: g.decisive.get(k) for k in leaves})) for c, g in zip(choices, groups, strict=True)}
        whole = name not in leaves and len(set(choices)) == len(told)
        for group, choice, found in zip(groups, choices, words, strict=True):
            each = [override(k, group.decisive[k]) for k in leaves if k in group.decisive]
            found += [f"{name}={choice}"] if whole else each
    return words


def varied(runs: Sequence[Run], row: str) -> str:
    """The seeds that an interval covers: those with more than one value among the runs."""
    if len(runs) < 2:
        return "one run"
    present = sorted({k for run in runs for k in run.seeds if decides(k, row)})
    taken = {k: tuple(run.seeds.get(k) for run in runs) for k in present}
    named = [seed for seed in SEEDS if seed in taken]
    followed = {taken[seed] for seed in named}
    relevant = named + [k for k in present if k not in named and taken[k] not in followed]
    moved = [k for k in relevant if len(set(taken[k])) > 1]
    if moved == relevant:
        return "all seeds"
    if moved == ["seed"]:
        return "unlearning seed only; same original"
    *most, last = [SEEDS.get(k, k.removesuffix("seed").rstrip("._")) for k in moved]
    return f"{', '.join(most)} and {last} seeds" if most else f"{last} seed only"


def aggregate(
    runs: Iterable[Run], metrics: Sequence[str], by: Sequence[str] = (), bootstrap: bool = False
) -> pd.DataFrame:
    """``frame_of`` the groups of these runs."""
    return frame_of(group_runs(runs, by)[0], metrics, bootstrap)


def frame_of(groups: Sequence[Group], metrics: Sequence[str], bootstrap: bool = False) -> pd.DataFrame:
    """One record for each setting, row of its table and metric, in the tables' order.

    Columns: setting, method (the label of the row), row (original, retrained, clean or unlearned), metric, mean,
    std (n-1), ci95 (half-width of Student's t interval of the mean), n (runs with a value), varied (what ``std`` and
    ``ci95`` are over), failed (runs in which the metric failed). ``std`` and ``ci95`` are NaN for n = 1. References
    come first, then the methods by the absolute value of their mean gap. With ``bootstrap`` there are ``low`` and
    ``high``, too, the ends of that interval.
    """
    import pandas as pd

    from .statistics import bootstrap_interval

    reported = reported_by(groups)
    records = []
    for group in groups:
        over: dict[int, str] = {}  # by the number of runs, since most metrics are there in all of them
        for metric in metrics:
            having = [run for run in group.runs if metric in run.values[group.row]]
            failed = sum(has_failed(run, group.row, metric, reported) for run in group.runs)
            if not having and not failed:
                continue
            values = [run.values[group.row][metric] for run in having]
            mean, std, half = spread(values)
            ends = bootstrap_interval(values) if bootstrap else ()
            n = len(having)
            if n not in over or n < len(group.runs):
                over[n] = varied(having, group.row) if having else ""
            records.append((group.setting, group.label, group.row, metric, mean, std, half, n, over[n], failed, *ends))
    return pd.DataFrame(records, columns=[*FIELDS, *(ENDS if bootstrap else ())])


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, standard deviation (n-1) and half-width of Student's 95 % interval of the mean; NaN where undefined."""
    from scipy.special import stdtrit

    n = len(values)
    mean = fmean(values) if n else math.nan
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1)) if n > 1 else math.nan
    return mean, std, float(stdtrit(n - 1, 0.975)) * std / math.sqrt(n) if n > 1 else math.nan


def reported_by(groups: Iterable[Group]) -> dict[str, set[str]]:
    """The metrics reported by any run with the same evaluation: what a run with failures might have had."""
    reported: dict[str, set[str]] = defaultdict(set)
    for run in (run for group in groups for run in group.runs):
        reported[evaluation_of(run)] |= {metric for row in run.values.values() for metric in row}
    return reported


def evaluation_of(run: Run) -> str:
    """The metrics that a run was asked for, and whether there was a retrained model to compare with."""
    asked = {k: v for k, v in run.decisive.items() if group_of(k) == "evaluation"}
    return frozen(asked | {"retrained": "retrained" in run.values})


def has_failed(run: Run, row: str, metric: str, reported: Mapping[str, set[str]]) -> bool:
    """Whether a metric failed in a run, which names what failed by metric or by family.

    The metrics of a family are those that runs with the same evaluation report.
    """
    if row not in run.values or metric in run.values[row] or metric.startswith("cost/"):
        return False
    if metric.startswith("gap/"):  # a gap needs both rows, their mean needs one of the gaps
        parts = AVERAGE_GAPS.get(metric, (metric.removeprefix("gap/"),))
        needed = ("unlearned", "retrained") if row == "unlearned" and "retrained" in run.values else ()
        return any(has_failed(run, needs, part, reported) for needs in needed for part in parts)
    failed = run.failed.get(row, {})
    return bool(
        {metric, metric.partition("/")[0]} & failed.keys() or (failed and metric in reported[evaluation_of(run)])
    )
