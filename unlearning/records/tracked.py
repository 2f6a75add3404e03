"""A run in the form in which trackers such as MLflow log it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..config.groups import GROUPS, NODES, label
from ..config.legend import trial_mark
from ..engine.key import flat
from .names import CARD, FAILED, LOG, PROVENANCE, RESULTS, SPLIT, WEIGHTS

Status = Literal["FINISHED", "FAILED", "KILLED"]  # killed: interrupted by the user
Curves = Mapping[str, Sequence[tuple[int, float]]]

FINISHED_FILES = (RESULTS, "*.png", SPLIT, WEIGHTS, CARD, LOG)
FAILED_FILES = (FAILED, PROVENANCE, LOG)
MANY = "class_acc/"  # a chart for each class would hide the others
CLASSES = (".optimizer._target_", ".schedule._target_")
COMPARED = (*(name for name in NODES if GROUPS[name].decides and name != "evaluation"), "split")


@dataclass(frozen=True)
class TrackedRun:
    """A run in the form in which trackers log it.

    Args:
        name: how tables of runs call it.
        params: settings by dotted name.
        tags: further facts by name.
        metrics: final values, logged at step 0.
        curves: (step, value) points by name.
        artifacts: files and folders to keep with the run.
        dataset_digest: digest of the split.
        status: how the run ended.
        sweep: names the sweep that the run belongs to, whose runs become children of one parent run.
        started: seconds since the epoch.
        parts: of numbers over several runs, the name of each by its id.
    """

    name: str
    params: Mapping[str, object]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    curves: Curves
    artifacts: Sequence[Path]
    dataset_digest: str
    status: Status
    sweep: str | None
    started: float
    parts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TrackedSweep:
    """A sweep that is over, in the form in which trackers log it.

    Args:
        name: the name that its runs know it by.
        command: the command line that made it.
        status: whether all of its jobs finished.
        runs: the name of each finished run by its id, those that were found finished included.
        varied: the values of each parameter that differs between runs.
        best: the id of the best run by validation samples; None where there is none.
        means: the mean of each group of runs that differ in seeds alone.
    """

    name: str
    command: str
    status: Status
    runs: Mapping[str, str]
    varied: Mapping[str, str]
    best: str | None
    means: Sequence[TrackedRun]


def finished(folder: Path, results: Mapping[str, Any], curves: Curves, started: float, sweep: str | None) -> TrackedRun:
    """The run of a folder that has ``results``, as they stand in ``results.json``."""
    finals = results["rows"]["unlearned"] | results["gaps"] | results["cost"]
    others = {row: values for row, values in results["rows"].items() if row != "unlearned"}
    finals |= {f"{row}/{name}": value for row, values in others.items() for name, value in values.items()}
    metrics = {name: value for name, value in finals.items() if MANY not in name}
    files = files_of(folder, FINISHED_FILES)
    return described(results, metrics, curves, files, "FINISHED", started, sweep)


def failed(folder: Path, provenance: Mapping[str, Any], reason: str, started: float, sweep: str | None) -> TrackedRun:
    """The run of a folder, which failed for a ``reason``."""
    facts = {**provenance, "reason": reason}
    return described(facts, {}, {}, files_of(folder, FAILED_FILES), "FAILED", started, sweep)


def described(
    facts: Mapping[str, Any],
    metrics: Mapping[str, float],
    curves: Curves,
    files: Sequence[Path],
    status: Status,
    started: float,
    sweep: str | None,
) -> TrackedRun:
    """A run with its name, its settings and the tags that lead back to it; ``facts`` are those of its provenance."""
    config = facts["config"]
    choices = config["choices"]
    tags = {"run_key": facts["run_key"], "command": facts["command"], "git": facts.get("git") or "none"}
    if config["trial"] is not None:
        tags["trial"] = f"on {config['trial']} samples of each set"
    return TrackedRun(
        name=f"{trial_mark(config)}{label(choices)} {choices['dataset']} s{config['seed']}",
        params=comparable(choices, config),
        tags=tags | ({"reason": facts["reason"]} if "reason" in facts else {}),
        metrics=metrics,
        curves=curves,
        artifacts=files,
        dataset_digest=facts.get("data", {}).get("split", ""),
        status=status,
        sweep=sweep,
        started=started,
    )


def files_of(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """The files of a folder that match any of the patterns, in their order."""
    return [file for pattern in patterns for file in sorted(folder.glob(pattern))]


def comparable(choices: Mapping[str, str], config: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters worth comparing between runs: choices, seeds, and settings by dotted name.

    Those of a method bear its name, as in ``ssd.alpha``, since ``alpha`` means something else to another method, and
    one axis of a chart would hold both. Optimisers and schedules are told by their classes.
    """
    found: dict[str, Any] = {name: choice for name, choice in choices.items() if choice}
    found["seed"] = config["seed"]
    for group in filter(config.get, COMPARED):  # without add-ons there is nothing to compare
        found |= flat(config[group], f"{choices['method'] if group == 'method' else group}.")
    classes = {name.removesuffix("._target_"): value for name, value in found.items() if name.endswith(CLASSES)}
    return {name: value for name, value in found.items() if not name.endswith(("_target_", "_partial_"))} | classes
