"""Command lines as processes that start in a moment, and what they leave behind."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from unlearning import cli

CONTEXT = multiprocessing.get_context("forkserver")  # a clean process that has imported all once, and is then copied
CONTEXT.set_forkserver_preload(
    [
        "unlearning.pipeline",
        "unlearning.sweeps",
        "mlflow.store.tracking.sqlalchemy_store",
        "sklearn.datasets",
        "experiments.safety.processes",
    ]
)


def quietly(words: Sequence[str]) -> None:
    """End the process with the exit code of a command line, whose output goes nowhere."""
    void = os.open(os.devnull, os.O_WRONLY)
    os.dup2(void, 1)
    os.dup2(void, 2)
    sys.exit(cli.main(list(words)))


def start(*words: str) -> multiprocessing.process.BaseProcess:
    """A command line as a process of its own."""
    process = CONTEXT.Process(target=quietly, args=(words,))
    process.start()
    return process


def results(root: Path) -> dict[str, object]:
    """The metrics of each finished run below a root by its key, but for what they cost."""
    found = {}
    for done in (root / "multirun").glob("*/DONE"):
        run = json.loads(done.with_name("results.json").read_text())
        rows = run["rows"].items()
        found[run["run_key"]] = {row: {n: v for n, v in all_.items() if "cost/" not in n} for row, all_ in rows}
    return found


def files(root: Path) -> set[str]:
    """The files below ``store`` and ``multirun``, but for locks, which stay, and records of sweeps."""
    places = [path for part in ("store", "multirun") for path in (root / part).rglob("*") if path.is_file()]
    names = {path.relative_to(root) for path in places if path.suffix != ".lock"}
    return {str(name) for name in names if name.parts[:2] != ("multirun", ".hydra")}


def tracked(root: Path) -> tuple[Counter[str], Counter[str]]:
    """How often each run key is FINISHED in MLflow, and how many runs have each other status."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{root}/mlflow.db")
    finished: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for run in client.search_runs([one.experiment_id for one in client.search_experiments()], max_results=50_000):
        if run.info.status != "FINISHED":
            others[run.info.status] += 1
        elif "run_key" in run.data.tags:
            finished[run.data.tags["run_key"]] += 1
    return finished, others
