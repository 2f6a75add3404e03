"""Calls of MLflow's client, and the names that it permits. MLflow is imported when it is needed: it takes seconds."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from .tracked import Status, TrackedRun, TrackedSweep

if TYPE_CHECKING:
    from mlflow import MlflowClient

V = TypeVar("V")

NAME_LENGTH = 240  # characters; MLflow's limit is 250, and ``named`` may add some
DIGEST_LENGTH = 36  # MLflow's limit
SWEEP_TAG = "unlearning.sweep"
RUN_KEY = "run_key"  # the tag that names a run from its creation on
SWEEPING = "python run.py -m "  # how the command of a sweep begins


def imported_mlflow() -> ModuleType:
    """Import MLflow with telemetry and console output off; variables that the user has set are left alone."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # MLflow's own 7 take minutes to give up
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    import mlflow

    # After the import, which sets up MLflow's logger. All errors reach the caller as exceptions as well.
    for logger in ("mlflow", "alembic", "urllib3.connectionpool"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    return mlflow


def fill(client: MlflowClient, run_id: str, run: TrackedRun, ended: int, files: Iterable[Path]) -> None:
    """Log what a run holds, with these files, in as many requests as it takes; MLflow cuts long values."""
    from mlflow.entities import Dataset, DatasetInput, Metric, Param, RunTag

    points = [*((key, [(0, value)]) for key, value in run.metrics.items()), *run.curves.items()]
    client.log_batch(
        run_id,
        [Metric(key, float(y), ended, step) for key, curve in named(points) for step, y in curve],
        [Param(key, str(value)) for key, value in named(run.params.items())],
        [RunTag(key, str(value)) for key, value in named(run.tags.items())],
    )
    if run.dataset_digest:
        split = Dataset("split", run.dataset_digest[:DIGEST_LENGTH], source_type="local", source="{}")
        client.log_inputs(run_id, [DatasetInput(split)])
    for path in files:
        client.log_artifact(run_id, str(path))


def settle(client: MlflowClient, experiment: str, run: TrackedRun) -> str:
    """End what a process that was killed has left of the same run; the caller keeps other processes out.

    Returns the id of the whole record of the same execution, if the process came as far: executions of one run are told
    apart by when they started. Otherwise it is empty.
    """
    if not (key := run.tags.get(RUN_KEY)):
        return ""
    same = f"tags.{RUN_KEY} = '{key}' and attributes.status = "
    for orphan in client.search_runs([experiment], f"{same}'RUNNING'"):
        client.set_terminated(orphan.info.run_id, "KILLED")
    begun = f"attributes.start_time = {milliseconds(run.started)}"
    found = client.search_runs([experiment], f"{same}'FINISHED' and {begun}", max_results=1)
    return str(found[0].info.run_id) if found and run.status == "FINISHED" else ""


def find_parent(client: MlflowClient, experiment: str, sweep: str) -> str | None:
    """The id of the parent run of a sweep; None where there is none."""
    found = client.search_runs([experiment], f"tags.`{SWEEP_TAG}` = '{digest(sweep)}'", max_results=1)
    return str(found[0].info.run_id) if found else None


def describe(client: MlflowClient, experiment: str, parent: str, sweep: TrackedSweep) -> None:
    """Complete the parent run of a sweep: its command, what varied, its best run, and links to all of its runs.

    A run can have one parent. Those that an earlier sweep made are therefore found by the links in the description.
    """
    from mlflow.entities import Param, RunTag

    tags = note(f"`{sweep.command}`", links(sweep.runs, experiment)) | {"command": sweep.command}
    if sweep.best:
        tags |= {"best_by_validation": sweep.best, "best_by_validation_name": sweep.runs[sweep.best]}
    client.update_run(parent, name=sweep.command.removeprefix(SWEEPING)[:NAME_LENGTH])
    client.log_batch(
        parent,
        params=[Param(key, value) for key, value in named(sweep.varied.items())],
        tags=[RunTag(key, value) for key, value in tags.items()],
    )


def first_tags(run: TrackedRun, experiment: str, parent: str | None) -> dict[str, str]:
    """The tags with which a run begins: its key, its parent, and as its description links to its parts."""
    found = {key: run.tags[key] for key in (RUN_KEY,) if key in run.tags} | note(links(run.parts, experiment))
    return found | ({"mlflow.parentRunId": parent} if parent else {})


def links(runs: Mapping[str, str], experiment: str) -> str:
    """A list of links to runs, of which there is the name by the id."""
    return "\n".join(f"* [{name}](#/experiments/{experiment}/runs/{made})" for made, name in runs.items())


def note(*paragraphs: str) -> dict[str, str]:
    """The tag that MLflow shows as the description of a run; none without text."""
    text = "\n\n".join(filter(None, paragraphs))
    return {"mlflow.note.content": text} if text else {}


def end(client: MlflowClient, run: str, parent: str | None, status: Status, ended: int) -> None:
    """End a run and its parent: the parent ends as its last child, but as FAILED if any child failed."""
    client.set_terminated(run, status, ended)
    if parent:
        before = client.get_run(parent).info.status
        client.set_terminated(parent, "FAILED" if "FAILED" in (status, before) else status, ended)


def named(items: Iterable[tuple[str, V]]) -> Iterator[tuple[str, V]]:
    """The same items under names that MLflow permits, each still unique: C+ and C# become C_ and C__."""
    taken: set[str] = set()
    for name, value in items:
        name = permitted(name)
        while name in taken:
            name += "_"
        taken.add(name)
        yield name, value


def permitted(name: str) -> str:
    """A name as MLflow and file systems permit it: no special characters, no empty or dotted parts."""
    parts = re.sub(r"[^\w.\- /]", "_", name).split("/")
    return "/".join(part for part in parts if part not in ("", ".", ".."))[:NAME_LENGTH].rstrip("/") or "_"


def digest(sweep: str) -> str:
    """A digest of a sweep's name, which needs no escaping of quotes in a filter."""
    return hashlib.sha256(sweep.encode()).hexdigest()


def milliseconds(seconds: float) -> int:
    """A time in MLflow's unit."""
    return int(seconds * 1000)
