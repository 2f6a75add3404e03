"""A run directory as the report reads it: what was measured, what failed, and the settings that decided it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ..config.schema import DECIDES, label, numerics
from ..errors import UserError

REFERENCES = ("original", "retrained", "clean")  # clean: without any manipulated sample
ROWS = (*REFERENCES, "unlearned")
SETTING = ("dataset", "model", "scenario")  # one table for each combination
METHOD = ("method", "addon")  # what the reference models do not depend on, as they do not on the unlearning seed


@dataclass(frozen=True)
class Run:
    """One run directory. Only a ``done`` run has a ``result``; the others say ``why`` not."""

    name: str
    state: Literal["done", "failed", "unfinished", "unreadable"]
    why: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)
    finished: float = 0.0  # when, in seconds since the epoch

    @property
    def choices(self) -> dict[str, str]:
        return self.result["config"]["choices"]

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved config as dotted leaves, without nulls, the parts under ``paths`` cut off.

        The same data on another machine is the same data.
        """
        paths = sorted(self.result["config"]["paths"].values(), key=len, reverse=True)
        found = {key: value for key, value in _leaves(self.result["config"]) if value is not None}
        for key, value in found.items():
            if inside := next((p for p in paths if isinstance(value, str) and value.startswith(p)), ""):
                found[key] = value.removeprefix(inside)
        return found

    @cached_property
    def seeds(self) -> dict[str, Any]:
        return {key: value for key, value in self.config.items() if is_seed(key)}

    @cached_property
    def decisive(self) -> dict[str, Any]:
        """The leaves that decide the result, seeds apart; ``retrained`` decides only which rows there are."""
        numeric = {f"trainer.{name}" for name in numerics(self.result["config"])}
        groups = {*DECIDES} - {"retrained"}
        return {k: v for k, v in self.config.items() if (group_of(k) in groups or k in numeric) and not is_seed(k)}

    @cached_property
    def values(self) -> dict[str, dict[str, float]]:
        """Finite values by row and metric; the unlearned row holds the gaps and the cost, too."""
        rows = {row: self.result["rows"][row] for row in ROWS if row in self.result["rows"]}
        rows["unlearned"] = rows["unlearned"] | self.result.get("gaps", {}) | self.result.get("cost", {})
        return {row: {m: float(v) for m, v in found.items() if _finite(v)} for row, found in rows.items()}

    @cached_property
    def failed(self) -> dict[str, dict[str, str]]:
        """By row, why a metric or a family of metrics has no value."""
        rows = self.result["rows"]
        found = {row: {m: "not finite" for m, v in rows[row].items() if not _finite(v)} for row in self.values}
        for key, why in self.result["failed"].items():
            row, _, name = key.partition(": ")  # "unlearned: membership"
            found[row][name] = str(why)
        return found

    @property
    def method(self) -> str:
        return label(self.choices)

    @property
    def place(self) -> str:
        """Data set, model and scenario in words, with the arguments that say what is forgotten."""
        what = [override(k, v) for k, v in self.decisive.items() if group_of(k) == "scenario" and "_target_" not in k]
        return " · ".join(self.choices[group] for group in SETTING) + (f" ({', '.join(what)})" if what else "")

    def lookup(self, key: str) -> Any:
        """A config group's choice or a leaf of the config; None where there is none."""
        return self.choices.get(key, self.config.get(key))


def collect(root: str | Path) -> list[Run]:
    """Every run directory under ``root``, by name.

    Raises:
        UserError: ``root`` is missing or holds no run directory.
    """
    root = Path(root)
    found = sorted(f for f in root.iterdir() if f.is_dir() and not f.name.startswith(".")) if root.is_dir() else []
    if not found:
        what = "no runs in" if root.is_dir() else "no folder"
        raise UserError(f"{what} {root}: give the folder that holds the runs, or make some with python run.py")
    return [read(folder) for folder in found]


def read(folder: Path) -> Run:
    """One run directory, whatever its state."""
    done, failed = folder / "DONE", folder / "FAILED"
    if failed.exists() and not done.exists():
        return Run(folder.name, "failed", " ".join(failed.read_text(errors="replace").split()))
    if not done.exists():
        return Run(folder.name, "unfinished")
    try:
        result = json.loads((folder / "results.json").read_text())
        run = Run(folder.name, "done", result=result, finished=done.stat().st_mtime)
        _ = run.values, run.failed, run.method, run.place  # read whatever the tables will need
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return Run(folder.name, "unreadable", f"results.json: {type(error).__name__}: {error}")
    return run


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
    """``method.alpha`` is alpha to a reader, ``addon.l1.weight`` l1.weight; other keys keep their group's name."""
    group, _, rest = key.partition(".")
    return f"{rest if group in (*METHOD, *SETTING) and rest else key}={text_of(value)}"


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)  # what cannot be measured on a machine, such as memory, is null


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, list) and any(isinstance(item, dict) for item in node):
        node = dict(enumerate(node))
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, float(node) if type(node) is int else node  # 10 and 10.0 are the same setting
