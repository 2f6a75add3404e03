"""Statements about quantities over seeds, and how a claim made of them is judged.

A statement is that the mean of a quantity, such as a paired difference of two runs of a seed, lies in a range. It holds
where the 95 % t-interval over seeds lies in the range, does not hold where it lies outside, and cannot be told where it
holds a bound.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments.cells import plus_minus
from unlearning.report.groups import spread
from unlearning.report.runs import Run, collect

HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot be told"

Cell = Mapping[int, Run]  # by seed
Values = Mapping[int, float]  # likewise
Value = Callable[[Run], float]


@dataclass(frozen=True)
class Statement:
    """A quantity over seeds, and the open range in which its mean is said to lie."""

    name: str
    values: Values
    low: float = -math.inf
    high: float = math.inf

    @property
    def verdict(self) -> str:
        """Whether the interval over seeds lies in the range, outside it, or neither; one seed tells nothing."""
        if len(self.values) < 2:
            return OPEN
        mean, _, half = spread(list(self.values.values()))
        if self.low < mean - half and mean + half < self.high:
            return HOLDS
        return FAILS if mean + half < self.low or self.high < mean - half else OPEN

    @property
    def text(self) -> str:
        return f"{self.name} {plus_minus(list(self.values.values()))}"


def verdict(statements: Sequence[Statement]) -> str:
    """That of a claim, which holds where all of its statements do, and does not where one does not."""
    found = {statement.verdict for statement in statements}
    return FAILS if FAILS in found else OPEN if OPEN in found or not found else HOLDS


def runs_of(folder: Path) -> list[Run]:
    """The finished runs of a folder, with their curves; none where it is missing."""
    return [
        replace(run, result={**run.result, "curves": json.loads((folder / run.name / "curves.json").read_text())})
        for run in (collect(folder) if folder.is_dir() else [])
        if run.state == "done"
    ]


def select(runs: Iterable[Run], settings: Mapping[str, Any]) -> dict[int, Run]:
    """The run of each seed that has these settings. Raises ``ValueError`` for two runs of a seed."""
    found: dict[int, Run] = {}
    for run in runs:
        if all(same(run.lookup(key), wanted) for key, wanted in settings.items()):
            seed = int(run.config["seed"])
            if seed in found:
                raise ValueError(f"{found[seed].name} and {run.name} both have {settings}")
            found[seed] = run
    return found


def same(one: Any, other: Any) -> bool:
    """Whether two values of a setting are equal; numbers but for rounding."""
    numbers = isinstance(one, float) and isinstance(other, float)
    return math.isclose(one, other) if numbers else bool(one == other)


def value(metric: str, row: str = "unlearned") -> Value:
    """A metric of a run's row."""
    return lambda run: run.values[row][metric]


def success(run: Run) -> float:
    """The share of the attacked samples that changed class, over all steps of the run."""
    curve = run.result["curves"]["unlearn/attack_success"]
    return sum(share for _, share in curve) / len(curve)


def paired(one: Cell, other: Cell, of: Value, less: Value | None = None) -> dict[int, float]:
    """``of`` of the one run less ``less`` (``of``) of the other, for the seeds that both have."""
    less = less or of
    return {seed: of(one[seed]) - less(other[seed]) for seed in sorted(one.keys() & other.keys())}


@dataclass(frozen=True)
class Claim:
    """A published claim, on one data set and in one setting."""

    text: str
    where: str
    statements: Sequence[Statement]


def table(found: Iterable[Claim]) -> list[str]:
    """A Markdown table with a row for each claim."""
    rows = []
    for claim in found:
        numbers = "; ".join(statement.text for statement in claim.statements)
        rows.append(f"| {claim.text} | {claim.where} | {verdict(claim.statements)} | {numbers} |")
    return ["| claim | data and setting | verdict | numbers |", "| --- | --- | --- | --- |", *rows]
