"""The rows of a page: everything about one group of runs that its cells and its details show."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any
from urllib.parse import quote

from ...config.groups import REFERENCE_FREE
from ..comparison import competes, mean_cost
from ..groups import Group
from ..noise_floor import sigmas
from ..runs import REFERENCES, Run, group_of, text_of
from ..tables import Report, cell, count
from ..verdicts import verdict
from .curves import curves_of
from .nearness import levels
from .outputs import Outputs
from .pictures import Pictures

CLASSES = "class_acc/"
LAYERS = "layer_cka/"
SHARE = "cost/share of retraining"
PREDICTED = 120  # rows with figures of predictions; the files of more take too long to read
PICTURES = (
    *("summary.png", "embeddings.png", "losses.png", "gallery.png", "boundary.png", "epochs.png", "noise.png"),
    "layers.png",
)
FILES = ("MODEL_CARD.md", "results.json", "log.txt", *PICTURES)


def rows_of(report: Report, folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows, in the tables' order, and the summaries of reference models' predictions that they name.

    Numbers are those of the report's frame. Files are named relative to ``folder``, where the page will be.
    """
    records: dict[tuple[str, str, str], list[Any]] = {}
    for record in report.frame.itertuples():
        records.setdefault((record.setting, record.method, record.row), []).append(record)
    noise = {id(group): found for group, found in sigmas(report.groups)}
    places = list(dict.fromkeys(table.setting for table in report.tables))
    outputs, pictures = Outputs(), Pictures()
    rows: list[dict[str, Any]] = []
    for group in report.groups:
        there = records.get((group.setting, group.label, group.row), [])
        n = max((record.n + record.failed for record in there), default=len(group.runs))
        row = {
            "number": len(rows),
            "setting": places.index(group.setting),
            "label": group.label,
            "kind": group.row,
            "competes": competes(group),
            "n": int(n),
            "over": next((record.varied for record in there if record.n == n), ""),
            "values": {record.metric: value_of(record, int(n), report) for record in there},
        }
        if group.row not in REFERENCES:
            row |= details(group, report, folder)
            row["sigmas"] = {name: value for name, value in noise[id(group)].items() if value is not None}
            seen = outputs.of(group.runs[0]) if len(rows) < PREDICTED else None
            row |= {"outputs": seen, "curves": curves_of(group.runs), "pictures": pictures.of(group.runs[0])}
            add_share(row, group, report)
        rows.append(row)
    colour(rows, report)
    return rows, outputs.references


def value_of(record: Any, n: int, report: Report) -> dict[str, Any]:
    """One mean as a cell shows it, and as a number."""
    mean, interval = cell(record, n, report.interval)
    half = record.std if report.interval == "sd" else record.ci95
    ends = [record.mean - half, record.mean + half]
    if report.interval == "bootstrap":
        ends = [record.low, record.high]
    return {"text": mean, "interval": interval, "mean": record.mean, "ends": ends, "n": record.n}


def add_share(row: dict[str, Any], group: Group, report: Report) -> None:
    """Add the cost as a share of retraining, where a retrained model was made and timed."""
    pairs = [(run.values["unlearned"], run.values.get("retrained", {})) for run in group.runs]
    name = "cost/seconds"
    found = [ours[name] / theirs[name] for ours, theirs in pairs if name in ours and theirs.get(name, 0) > 0]
    if found:
        mean = fmean(found)
        row["values"][SHARE] = {
            "text": f"{mean:.1%}" if mean < 0.1 else f"{mean:.0%}",
            "interval": "",
            "mean": mean,
            "ends": [min(found), max(found)],
            "n": len(found),
        }


def details(group: Group, report: Report, folder: Path) -> dict[str, Any]:
    """What unfolds below a row."""
    runs = sorted(group.runs, key=lambda run: run.name)
    notes = Counter(note for run in runs for note in run.result.get("notes", []))
    failed = Counter(f"failed: {name}: {why}" for run in runs for name, why in run.failed[group.row].items())
    return {
        "verdict": verdict(group, report.margin).removeprefix(f"{group.label}: "),
        "notes": [f"{text} ({count(times, 'run')})" for text, times in (notes + failed).items()],
        "models": {model: means(run.values.get(model, {}) for run in runs) for model in REFERENCES},
        "classes": class_gaps(runs),
        "blocks": blocks_of(runs[0]),
        "config": config_of(group, report.groups),
        "reasons": reasons(runs[0]),
        "runs": [
            {"name": run.name, "command": str(run.result.get("command", "")), "files": files(run, folder)}
            for run in runs
        ],
    }


def means(rows: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each metric over the runs that have it."""
    found: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            found.setdefault(name, []).append(value)
    return {name: fmean(values) for name, values in found.items()}


def class_gaps(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The gap of each class's test accuracy: the name, the mean, the least and the largest over the runs."""
    start = f"gap/{CLASSES}"
    found: dict[str, list[float]] = {}
    for run in runs:
        for name, value in run.values["unlearned"].items():
            if name.startswith(start):
                found.setdefault(name.removeprefix(start), []).append(value)
    return [{"name": name, "mean": fmean(v), "low": min(v), "high": max(v)} for name, v in found.items()]


def blocks_of(run: Run) -> list[str]:
    """The blocks whose similarity to those of other models is known, in the order of the network."""
    names = (name.partition("/")[2] for name in run.values["unlearned"] if name.startswith(LAYERS))
    return list(dict.fromkeys(name.partition("/")[2] for name in names))


def config_of(group: Group, groups: Iterable[Group]) -> list[str]:
    """The settings of the method and its add-ons, and all others that differ within the setting."""
    there = [other.decisive for other in groups if other.setting == group.setting and other.row == group.row]
    found = []
    for key, value in sorted(group.decisive.items()):
        differs = any(text_of(other.get(key)) != text_of(value) for other in there)
        if not key.endswith("_target_") and (group_of(key) in REFERENCE_FREE or differs):
            found.append(f"{key}={text_of(value)}")
    return found


def reasons(run: Run) -> list[str]:
    """Why the settings of a run are as they are: the rows of its tables."""
    rows = run.result.get("settings", [])
    return [str(row["why"]) for row in rows if isinstance(row, dict) and "why" in row]


def files(run: Run, folder: Path) -> list[dict[str, str]]:
    """The names of a run's files for readers, with their addresses as seen from a folder."""
    if not run.folder.name:
        return []
    where = os.path.relpath(run.folder, folder)
    there = set(os.listdir(run.folder))
    return [{"name": name, "href": quote(f"{where}/{name}".replace(os.sep, "/"))} for name in FILES if name in there]


def colour(rows: Sequence[dict[str, Any]], report: Report) -> None:
    """Give each value of a method its cost and its level, and mark the best of those that compete."""
    for place in dict.fromkeys(row["setting"] for row in rows):
        own = {i: row for i, row in enumerate(rows) if row["setting"] == place and row["kind"] not in REFERENCES}
        for metric in dict.fromkeys(name for row in own.values() for name in row["values"]):
            arrow = "↓" if metric == SHARE else report.arrows.get(metric, "")
            found = numbers_of(own, metric)
            if metric != SHARE:
                each = {i: mean_cost(report.groups[i], metric, arrow) for i in found}
                found = {i: cost for i, cost in each.items() if cost is not None}
            for i, level in levels(found, arrow, metric.startswith("cost/")).items():
                own[i]["values"][metric]["level"] = level
            for i, cost in found.items():
                own[i]["values"][metric]["cost"] = cost
            rivals = {i: cost for i, cost in found.items() if own[i]["competes"]}
            best = min(rivals.values(), default=math.inf)
            for i, cost in rivals.items():
                own[i]["values"][metric]["best"] = len(rivals) > 1 and math.isclose(cost, best, abs_tol=1e-12)


def numbers_of(rows: Mapping[int, dict[str, Any]], metric: str) -> dict[int, float]:
    """The means of a metric by row, of the rows that have one."""
    found = {i: row["values"][metric]["mean"] for i, row in rows.items() if metric in row["values"]}
    return {i: float(value) for i, value in found.items() if not math.isnan(value)}
