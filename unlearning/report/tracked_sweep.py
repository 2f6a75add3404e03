"""A sweep that is over, for trackers: what varied, the best run by validation samples, and the means over seeds."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from ..config.build import Spec
from ..records.folder import destination, logged
from ..records.tracked import Status, TrackedRun, TrackedSweep, comparable
from .groups import Group, group_runs, varied
from .runs import CONTROLS, Run, is_seed, read, text_of

CHOSEN_BY = "gap/mean_val"


def track(name: str, command: str, status: Status, folders: Sequence[Path], tracking: Mapping[str, Any]) -> None:
    """Log a sweep that is over to where its runs were logged. What has been logged of the same runs is not again."""
    where = destination(tracking)
    if not where:
        return
    sweep = tracked_sweep(name, command, status, folders, where)
    made = hashlib.sha256(json.dumps([command, sorted(sweep.runs)]).encode()).hexdigest()[:16]
    file = folders[0].parent / ".hydra" / f"tracked-{made}" if folders else None
    if status == "FINISHED" and file and file.exists():
        return  # before MLflow is imported
    Spec("tracking", tracking).build().end_sweep(sweep)
    if file and status != "KILLED":
        file.touch()


def tracked_sweep(name: str, command: str, status: Status, folders: Sequence[Path], where: str) -> TrackedSweep:
    """The record of a sweep.

    Args:
        name: the name that its runs know it by.
        command: the command line that made it.
        status: whether all of its jobs finished.
        folders: those of its finished runs.
        where: the destination that the runs were logged to (see ``records.folder.destination``).
    """
    ids = {folder.name: made for folder in folders if (made := logged(folder).get(where))}
    runs = [run for run in map(read, sorted(set(folders))) if run.state == "done" and run.name in ids]
    grouped = [group for group in group_runs(runs)[0] if group.row == "unlearned"]
    return TrackedSweep(
        name=name,
        command=command,
        status=status,
        runs={ids[run.name]: run.name for run in runs},
        varied=dict(differing([params(run) for run in runs])),
        best=ids[found.name] if (found := best(grouped)) else None,
        means=[mean(group, name, ids) for group in grouped if len(group.runs) > 1],
    )


def best(groups: list[Group]) -> Run | None:
    """The run nearest to retraining of the group that is on average, by ``gap/mean_val``: never by test samples.

    Controls do not compete. None where no group has that number.
    """
    gaps = {
        index: [abs(run.values["unlearned"].get(CHOSEN_BY, math.inf)) for run in group.runs]
        for index, group in enumerate(groups)
        if group.runs[0].choices["method"] not in CONTROLS
    }
    index = min(gaps, key=lambda one: fmean(gaps[one]), default=None)
    if index is None or math.isinf(fmean(gaps[index])):
        return None
    return min(zip(gaps[index], groups[index].runs, strict=True), key=lambda pair: pair[0])[1]


def params(run: Run) -> dict[str, str]:
    """The parameters of a run as trackers have them."""
    return {name: text_of(value) for name, value in comparable(run.choices, run.result["config"]).items()}


def differing(found: list[Mapping[str, str]]) -> Iterator[tuple[str, str]]:
    """The values of each parameter that differs, in the order of their first occurrence."""
    for name in dict.fromkeys(name for one in found for name in one):
        values = dict.fromkeys(one[name] for one in found if name in one)
        if len(values) > 1:
            yield name, ", ".join(values)


def mean(group: Group, sweep: str, ids: Mapping[str, str]) -> TrackedRun:
    """The mean over the runs of a group, as a run of its own; each ``sd/`` is the standard deviation over them."""
    runs = sorted(group.runs, key=lambda run: run.name)
    rows = [run.values["unlearned"] for run in runs]
    metrics: dict[str, float] = {"n": float(len(rows))}
    for name in [name for name in rows[0] if all(name in row for row in rows)]:
        values = [row[name] for row in rows]
        metrics |= {name: fmean(values), f"sd/{name}": stdev(values)}
    return over_runs(f"{group.label}, mean of {len(rows)}", runs, metrics, ids, sweep)


def over_runs(
    name: str, runs: Sequence[Run], metrics: Mapping[str, float], ids: Mapping[str, str], sweep: str | None = None
) -> TrackedRun:
    """Numbers over runs that differ only in seeds, as a run of its own that names its parts.

    Args:
        ids: what the tracker calls each run, by the name of its folder.
        sweep: as in ``TrackedRun``.
    """
    seeds = dict(differing([{k: v for k, v in params(run).items() if is_seed(k)} for run in runs]))
    return TrackedRun(
        name=name,
        params=params(runs[0]) | seeds,
        tags={"parts": ", ".join(ids[run.name] for run in runs), "over": varied(runs, "unlearned")},
        metrics=metrics,
        curves={},
        artifacts=[],
        dataset_digest="",
        status="FINISHED",
        sweep=sweep,
        started=max(run.finished for run in runs),
        parts={ids[run.name]: run.name for run in runs},
    )
