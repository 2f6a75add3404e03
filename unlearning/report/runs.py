"""The folder of a run as the report reads it: what was measured, what failed, and the settings that decided it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ..config.groups import REFERENCE_FREE, label
from ..config.legend import ARROWS, trial_mark
from ..engine.key import numerics
from ..errors import UserError
from ..records.names import DONE, FAILED, PROVENANCE, RESULTS
from ..request import DECIDES

REFERENCES = ("original", "retrained", "clean")  # clean: retrained without any manipulated sample
CONTROLS = ("original", "retrain", "head_only")  # methods that show what numbers mean, and compete with none
ROWS = (*REFERENCES, "unlearned")
SETTING = ("dataset", "model", "scenario")  # one table for each combination


@dataclass(frozen=True)
class Run:
    """The folder of one run. Only a ``done`` run has a whole ``result``; the others say ``why`` not.

    Of these the result holds the configuration, where it is known.
    """

    name: str
    state: Literal["done", "failed", "unfinished", "unreadable"]
    why: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)
    finished: float = 0.0  # seconds since the epoch
    folder: Path = Path()

    @property
    def choices(self) -> dict[str, str]:
        choices: dict[str, str] = self.result["config"]["choices"]
        return choices

    @cached_property
    def config(self) -> dict[str, Any]:
        """The leaves of the resolved configuration by dotted name, without nulls.

        What lies below a folder of ``paths`` is named relative to it: the same data on another machine are the same.
        """
        paths = sorted(self.result["config"]["paths"].values(), key=len, reverse=True)
        found = {key: value for key, value in leaves(self.result["config"]) if value is not None}
        for key, value in found.items():
            if inside := next((p for p in paths if isinstance(value, str) and value.startswith(p)), ""):
                found[key] = value.removeprefix(inside)
        return found

    @cached_property
    def seeds(self) -> dict[str, Any]:
        return {key: value for key, value in self.config.items() if is_seed(key)}

    @cached_property
    def decisive(self) -> dict[str, Any]:
        """The leaves that decide the result, without the seeds.

        ``retrained`` decides only which rows there are; the number of threads moves the last bits, as the device does.
        """
        numeric = {f"trainer.{name}" for name in numerics(self.result["config"]["trainer"])} - {"trainer.threads"}
        groups = {*DECIDES} - {"retrained", "trainer"}
        return {k: v for k, v in self.config.items() if (group_of(k) in groups or k in numeric) and not is_seed(k)}

    @cached_property
    def values(self) -> dict[str, dict[str, float]]:
        """Finite values by row and metric; the unlearned row also holds the gaps and the cost."""
        rows = {row: self.result["rows"][row] for row in ROWS if row in self.result["rows"]}
        rows["unlearned"] = rows["unlearned"] | self.result.get("gaps", {}) | self.result.get("cost", {})
        return {row: {m: float(v) for m, v in found.items() if is_finite(v)} for row, found in rows.items()}

    @cached_property
    def failed(self) -> dict[str, dict[str, str]]:
        """Why a metric or a family of metrics has no value, by row."""
        rows = self.result["rows"]
        found = {row: {m: "not finite" for m, v in rows[row].items() if not is_finite(v)} for row in self.values}
        for key, why in self.result["failed"].items():
            row, _, name = key.partition(": ")  # "unlearned: membership"
            found[row][name] = str(why)
        return found

    @property
    def method(self) -> str:
        """The method and its add-ons as tables name them."""
        return label(self.choices)

    @property
    def place(self) -> str:
        """Data set, model and scenario in words, with the arguments that say what is forgotten; marked in a trial."""
        what = [override(k, v) for k, v in self.decisive.items() if group_of(k) == "scenario" and "_target_" not in k]
        where = trial_mark(self.result["config"]) + " · ".join(self.choices[group] for group in SETTING)
        return where + (f" ({', '.join(what)})" if what else "")

    def lookup(self, key: str) -> Any:
        """The choice of a config group, or a leaf of the configuration; None where there is none."""
        return self.choices.get(key, self.config.get(key))


def collect(root: str | Path) -> list[Run]:
    """Every run below ``root``, by name. Raises ``UserError`` where ``root`` is missing or holds no folder."""
    root = Path(root)
    found = sorted(f for f in root.iterdir() if f.is_dir() and not f.name.startswith(".")) if root.is_dir() else []
    if not found:
        what = "no runs in" if root.is_dir() else "no folder"
        raise UserError(
            f"{what} {root}: give the folder that holds the runs, or make some with python run.py", kind="file"
        )
    return [read(folder) for folder in found]


def read(folder: Path) -> Run:
    """The run of a folder, whatever its state."""
    done, failed = folder / DONE, folder / FAILED
    if failed.exists() and not done.exists():
        return Run(folder.name, "failed", words_in(failed), asked(folder))
    if not done.exists():
        return Run(folder.name, "unfinished", "", asked(folder))
    try:
        result = json.loads((folder / RESULTS).read_text())
        run = Run(folder.name, "done", result=result, finished=done.stat().st_mtime, folder=folder)
        _ = run.values, run.failed, run.method, run.place, run.decisive  # whatever the tables will need
        _ = result["cost"].items(), [ARROWS[direction] for direction in result["directions"].values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return Run(folder.name, "unreadable", f"{RESULTS}: {type(error).__name__}: {error}")
    return run


def words_in(file: Path) -> str:
    """The text of a file on one line, or why it cannot be read."""
    try:
        return " ".join(file.read_text(errors="replace").split())
    except OSError as error:
        return f"{file.name}: {error.strerror}"


def asked(folder: Path) -> dict[str, Any]:
    """The configuration of a run that has no result, as a part of one; empty where it is not known."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        found = {"config": json.loads((folder / PROVENANCE).read_text())["config"]}
        run = Run(folder.name, "unfinished", "", found)
        _ = run.choices, run.config
        return found
    return {}


def is_seed(key: str) -> bool:
    """Whether a dotted key names a seed."""
    leaf = key.rpartition(".")[2]
    return leaf == "seed" or leaf.endswith("_seed")


def group_of(key: str) -> str:
    """The config group of a dotted key."""
    return key.partition(".")[0]


def text_of(value: Any) -> str:
    """A value as one writes it on the command line."""
    if isinstance(value, list):
        return "[" + ",".join(map(text_of, value)) + "]"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def override(key: str, value: Any) -> str:
    """A setting as tables name it: ``alpha=10`` for ``method.alpha``, ``l1.weight=1`` for ``addon.l1.weight``.

    Settings of groups other than the method's and the task's keep the name of their group.
    """
    group, _, rest = key.partition(".")
    return f"{rest if group in (*REFERENCE_FREE, *SETTING) and rest else key}={text_of(value)}"


def is_finite(value: float | None) -> bool:
    """Whether there is a number; null stands for what a machine cannot measure, such as memory."""
    return value is not None and math.isfinite(value)


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and value of every leaf; whole numbers become floats, since 10 and 10.0 are the same setting."""
    if isinstance(node, list) and any(isinstance(item, dict) for item in node):
        node = dict(enumerate(node))
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, float(node) if type(node) is int else node
