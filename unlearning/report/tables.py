"""The report as data: one table per setting, with its notes."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ..config.legend import ARROWS, TAUGHT, mean_gap, reading, unstated
from ..errors import UserError
from ..metrics.directions import AVERAGE_GAPS, MEAN_OVER, taught_wrong
from .columns import with_what_is_shown
from .groups import Group, frame_of, group_runs
from .noise_floor import notes_on_noise
from .runs import REFERENCES, Run
from .selection import columns_of, filtered, known_key, known_metrics, without_result
from .verdicts import verdicts

if TYPE_CHECKING:
    import pandas as pd


Interval = Literal["student", "bootstrap", "sd"]
SHOWN: dict[Interval, str] = {
    "student": "± half the 95 % interval of the mean over n runs (Student t)",
    "bootstrap": "[low, high] the 95 % bootstrap interval of the mean over n runs, within the range of the values; too "
    "narrow below some 8 runs",
    "sd": "± the standard deviation over n runs (n-1)",
}


@dataclass(frozen=True)
class Line:
    """One row of a table: for each column the mean and the interval as text, either of them possibly empty."""

    label: str
    reference: bool
    n: int
    cells: dict[str, tuple[str, str]]


@dataclass(frozen=True)
class Table:
    """The runs of one setting."""

    setting: str
    columns: list[str]
    lines: list[Line]
    notes: list[str]


@dataclass(frozen=True)
class Report:
    """A report on many runs."""

    frame: pd.DataFrame  # ``aggregate`` over all metrics, with what is shown
    tables: list[Table]
    arrows: dict[str, str]  # for every metric whose good side is known
    legend: list[str]
    rest: list[str]  # the runs that are in no table, and why; lines about one run are indented
    tests: list[str] = field(default_factory=list)  # of the methods against each other; indented below their setting
    groups: list[Group] = field(default_factory=list)  # of all tables
    margin: float | None = None
    interval: Interval = "student"
    populations: list[Table] = field(default_factory=list)  # scores over populations of runs, beside the means
    ranked_by: str = ""  # the metric of the mean ranks; the usual one where it is empty


def report_on(
    runs: Sequence[Run],
    metrics: str = "",
    by: str = "",
    filters: Sequence[str] = (),
    *,
    interval: Interval = "student",
    margin: float | None = None,
    test: str = "",
) -> Report:
    """The report on the finished runs that pass the filters.

    Args:
        metrics: globs of the metrics that are columns, with commas; a usual selection where it is empty.
        by: config keys, with commas, whose values get separate rows.
        filters: ``KEY=VALUE``; see ``selection.filtered``.
        interval: what stands beside each mean.
        margin: of the verdicts below each table; none where it is None.
        test: the metric by which methods are compared with each other; none where it is empty.
    """
    done = filtered(runs, filters)
    keys = [known_key(done, key) for key in by.split(",") if key]
    known = known_metrics(done)
    columns = columns_of(metrics, known)
    tested = columns_of(test, known) if test else []
    groups, repeats = group_runs(done, keys)
    frame = with_what_is_shown(frame_of(groups, known, interval == "bootstrap"), groups, margin)
    tables = []
    for setting, part in frame.groupby("setting", sort=False):
        there = [column for column in columns if column in set(part.metric)]
        lines, own = lines_of(part, there, interval), [g for g in groups if g.setting == setting]
        notes = [*notes_on(part[part.metric.isin(there)], lines, own, interval), *notes_on_noise(own)]
        if margin is not None:
            notes += verdicts(own, margin)
        tables.append(Table(str(setting), there, lines, notes))
    legend = reading({row: values for run in done for row, values in run.values.items()})
    if any("gap/mean" in table.columns for table in tables):
        legend.append(mean_gap(metric.removeprefix("gap/") for metric in known if metric.startswith("gap/")))
    arrows = arrows_of(done)
    tests = tests_of(groups, tested, arrows)
    left = rest_of(without_result(runs, filters), repeats)
    return Report(frame, tables, arrows, legend, left, tests, groups, margin, interval, ranked_by="".join(tested[:1]))


def tests_of(groups: Sequence[Group], metrics: Iterable[str], arrows: Mapping[str, str]) -> list[str]:
    """Lines that compare the methods by each of the metrics. Raises ``UserError`` where no side of one is good."""
    texts = []
    for metric in metrics:
        from .comparison import compared

        if metric not in arrows:
            raise UserError(f"--test {metric}: it has no good side", key="--test")
        texts += compared(groups, metric, arrows)
    return texts


def lines_of(table: pd.DataFrame, columns: Sequence[str], interval: Interval = "student") -> list[Line]:
    """The rows of one setting's table, from its part of ``aggregate``."""
    found = []
    for (label, row), part in table.groupby(["method", "row"], sort=False):
        n = int((part.n + part.failed).max())
        cells = {record.metric: cell(record, n, interval) for record in part.itertuples()}
        mean, half = cells.get("gap/mean", ("failed", ""))
        if mean != "failed" and part[part.failed > 0].metric.str.removeprefix("gap/").isin(MEAN_OVER).any():
            cells["gap/mean"] = (mean + "†", half)
        found.append(Line(label, row in REFERENCES, n, {c: cells.get(c, ("-", "")) for c in columns}))
    return found


def cell(record: Any, n: int, interval: Interval = "student") -> tuple[str, str]:
    """Mean and interval (or deviation): three decimals for rates, fewer for large numbers, none lost for tiny ones."""
    if not record.n:
        return "failed", ""
    style = style_of(record.mean)
    mean = format(record.mean, style) + ("*" if record.n < n else "")
    if math.isnan(record.ci95):
        return mean, ""
    if interval == "bootstrap":
        return mean, f"[{record.low:{style}}, {record.high:{style}}]"
    return mean, f"±{record.std if interval == 'sd' else record.ci95:{style}}"


def style_of(number: float) -> str:
    """The format of a number in a cell."""
    size = abs(number)
    return ".1e" if 0 < size < 0.001 else ".3f" if size < 10 else ",.1f" if size < 1000 else ",.0f"


def arrows_of(runs: Iterable[Run]) -> dict[str, str]:
    """An arrow for every metric whose good side is known."""
    arrows: dict[str, str] = {}
    for run in runs:
        arrows |= {metric: ARROWS[direction] for metric, direction in run.result["directions"].items()}
        arrows |= dict.fromkeys(run.result["cost"], "↓") | dict.fromkeys(run.result.get("gaps", {}), "→0")
    return arrows | dict.fromkeys(AVERAGE_GAPS, "↓")


def notes_on(
    table: pd.DataFrame, lines: Iterable[Line], groups: Sequence[Group], interval: Interval = "student"
) -> list[str]:
    """The notes below one table."""
    texts = counts_in(table, interval)
    runs = [run for group in groups for run in group.runs]
    if any(taught_wrong(run.result.get("sizes", {})) for run in runs):
        texts.append(f"{TAUGHT}.")
    marks = {mean[-1:] for line in lines for mean, _ in line.cells.values()}
    if "*" in marks:
        texts.append("* not in all n runs: over those that have a value.")
    if "†" in marks:
        texts.append("† over the metrics that did not fail: not comparable with the other rows.")
    failures = ((g.label, *item) for g in groups for run in g.runs for item in run.failed[g.row].items())
    for (label, metric, why), times in Counter(failures).items():
        texts.append(f"failed: {label}: {metric}: {' '.join(why.split())} ({count(times, 'run')})")
    missing = Counter(line for run in {run.name: run for run in runs}.values() for line in unstated(run.result))
    texts += [f"{line} ({count(times, 'run')})" for line, times in missing.items()]
    own = (
        (g.label, note) for g in groups if g.row == "unlearned" for r in g.runs for note in r.result.get("notes", [])
    )
    for (label, note), times in Counter(own).items():
        texts.append(f"{label}: {note} ({count(times, 'run')})")
    made_by = {run.result.get("git") or "unknown" for run in runs}
    if len(made_by) > 1:
        revisions = {commit[:8] + plus + changes for commit, plus, changes in (git.partition("+") for git in made_by)}
        texts.append(f"made by different code: revisions {', '.join(sorted(revisions))}.")
    return texts


def counts_in(table: pd.DataFrame, interval: Interval = "student") -> list[str]:
    """The number of runs, and the seeds, that each row covers; text that most rows share appears once."""
    over: dict[str, list[str]] = defaultdict(list)
    fullest = table.sort_values("n", ascending=False, kind="stable").drop_duplicates(["method", "row"])
    for record in fullest[fullest.n > 0].itertuples():
        over[f"n={record.n}" + (f" ({record.varied})" if record.n > 1 else "")].append(record.method)
    texts = []
    if (fullest.n > 1).any():
        texts.append(f"{SHOWN[interval]}; a single run has no interval.")
    rest = max(over, key=lambda text: len(over[text]), default="")
    if len(over) > 1 and len(over[rest]) > 3:
        over[rest] = ["all other rows"]
    return [*texts, *(text if len(over) == 1 else f"{text}: {', '.join(labels)}" for text, labels in over.items())]


def rest_of(runs: Iterable[Run], repeats: int = 0) -> list[str]:
    """The runs that are in no table, and why."""
    runs = list(runs)
    texts = []
    for state in ("failed", "unreadable", "unfinished"):
        there = [f"  {run.name}" + (f": {run.why}" if run.why else "") for run in runs if run.state == state]
        if there:
            texts += [f"{count(len(there), f'{state} run')}:", *there]
    if repeats:
        texts.append(f"{count(repeats, 'run')} left out: each repeats the configuration and seeds of another")
    return texts


def count(n: int, noun: str) -> str:
    """A number with its noun: ``1 run``, ``2 runs``."""
    return f"{n} {noun}{'s' * (n != 1)}"
