"""Which published claims on Langevin unlearning hold: `python -m experiments.langevin.claims --out OUT`.

Each claim is a set of statements about paired differences of two runs of a seed, or about two models of a run: the mean
is above a bound, below it, or both within two. It holds where the 95 % t-interval over seeds lies on that side of the
bound, does not hold where it lies on the other, and cannot be told where it holds the bound. The script prints the
table and writes ``langevin.png`` to OUT.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments.cells import plus_minus
from experiments.langevin.figure import draw
from unlearning.errors import UserError
from unlearning.report.groups import spread
from unlearning.report.runs import Run, collect

DATA = ("digits", "digits28", "cifar10")
POLICIES = ("train", "eval", "frozen")
FORGET, RETAIN = "test_forget/acc", "test_retain/acc"
ALIKE = 0.05  # of an accuracy: two models that differ by less are alike
BATCH = 64  # the published gammas and lambdas are of the gradient of a mean over as many samples
GAMMA, LAM, RATE, NORM = "method.attack.gamma", "method.attack.lam", "method.optimizer.lr", "method.batch_norm"
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


def runs_of(out: Path, data: str, part: str) -> list[Run]:
    """The finished runs of a part of the study, with their curves; none where it was not made."""
    folder = out / data / part / "multirun"
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


def of_cells(grid: Sequence[Run], data: str, policy: str) -> Iterator[Claim]:
    """The claims on gamma and lambda, of one BatchNorm policy."""

    def cell(gamma: float, lam: float = 0.0) -> Cell:
        return select(grid, {GAMMA: gamma * BATCH, LAM: lam * BATCH, NORM: policy})

    def difference(name: str, one: Cell, other: Cell, metric: str, **within: float) -> Statement:
        return Statement(name, paired(one, other, value(metric)), **within)

    shrink, where = cell(0), f"{data}, BatchNorm {policy}"
    for gamma in (1e-4, 0.01, 0.1, 1):
        yield Claim(
            "Noise forgets as much as boundary shrink and keeps as much",
            f"{where}, gamma {gamma:g}",
            [
                difference("forget", cell(gamma), shrink, FORGET, high=ALIKE),
                difference("retain", cell(gamma), shrink, RETAIN, low=-ALIKE),
            ],
        )
    for lam in (1e-3, 0.1):
        yield Claim(
            "Lambda keeps more of the rest and forgets less (gamma 0)",
            f"{where}, lambda {lam:g}",
            [
                difference("retain", cell(0, lam), shrink, RETAIN, low=0),
                difference("forget", cell(0, lam), shrink, FORGET, low=0),
            ],
        )
    yield Claim(
        "With gamma 1, lambda (.1) changes nothing",
        where,
        [
            difference("forget", cell(1, 0.1), cell(1), FORGET, low=-ALIKE, high=ALIKE),
            difference("retain", cell(1, 0.1), cell(1), RETAIN, low=-ALIKE, high=ALIKE),
        ],
    )
    noisy = cell(1)
    yield Claim(
        "With gamma 1, whose step is pure noise, the class is still forgotten",
        where,
        [Statement("forgotten", paired(noisy, noisy, value(FORGET, "original"), value(FORGET)), low=ALIKE)],
    )
    if policy == "eval":  # the original answers the attack, whatever the policy
        for gamma in (1e-4, 0.01, 0.1):
            yield Claim(
                "Noise leaves nothing of the attack's direction",
                f"{data}, gamma {gamma:g}",
                [
                    Statement("success less that of gamma 1", paired(cell(gamma), noisy, success), high=ALIKE),
                    Statement("less that of gamma 0", paired(cell(gamma), shrink, success), high=-ALIKE),
                ],
            )


def of_controls(controls: Sequence[Run], data: str) -> Iterator[Claim]:
    """The claims on what BatchNorm's statistics do without any step, and on the published rate."""
    for policy in POLICIES:
        drift = select(controls, {RATE: 0.0, NORM: policy})
        published = select(controls, {RATE: 1e-5, NORM: policy})
        forgotten = paired(drift, drift, value(FORGET, "original"), value(FORGET))
        yield Claim(
            "At a rate of 0 the class is forgotten",
            f"{data}, BatchNorm {policy}",
            [Statement("forgotten", forgotten, low=ALIKE)],
        )
        yield Claim(
            "The published rate, 1e-5, forgets more than a rate of 0",
            f"{data}, BatchNorm {policy}",
            [Statement("forgotten more", paired(drift, published, value(FORGET)), low=ALIKE)],
        )


def of_parts(runs: Sequence[Run], data: str) -> Iterator[Claim]:
    """The claims on parts of a class, by the published distance to the retrained model, of training samples."""
    distance = "distance/retrain"
    methods = {
        "boundary shrink": {"method": "langevin", GAMMA: 0.0},
        "langevin": {"method": "langevin", GAMMA: 1e-4 * BATCH},
        "finetune": {"method": "finetune"},
    }
    for name, settings in methods.items():
        for share in (0.1, 0.25, 0.5, 0.75, None):
            found = select(runs, {"scenario.fraction": share, **settings})
            yield Claim(
                "A part of a class: nearer to the retrained model than the original is",
                f"{data}, {name}, {f'{share:g} of the class' if share else 'the class'}",
                [
                    Statement("nearer", paired(found, found, value(distance, "original"), value(distance)), low=0.0),
                    Statement("forget", {s: value("forget/acc")(run) for s, run in found.items()}),
                    Statement("retain", {s: value("retain/acc")(run) for s, run in found.items()}),
                    Statement(
                        "retrained forget", {s: value("forget/acc", "retrained")(run) for s, run in found.items()}
                    ),
                ],
            )


def curve(name: str, epoch: int) -> Value:
    """An accuracy of a composition after an epoch of its training; 0 is before it."""
    return lambda run: run.result["curves"][f"unlearn/{name}_acc"][epoch][1]


def of_composition(runs: Sequence[Run], data: str) -> Iterator[Claim]:
    """The claims on a composition's course."""
    for k, what in ((-1.0, "all trained"), (1.0, "head trained")):
        found = select(runs, {"method.k": k})
        yield Claim(
            "Composed models: training on the retain set restores it, and the class stays forgotten",
            f"{data}, {what}",
            [
                Statement("retain", paired(found, found, curve("retain", -1), curve("retain", 0)), low=0.0),
                Statement("forget", paired(found, found, curve("forget", -1), curve("forget", 0)), high=ALIKE),
            ],
        )
        yield Claim(
            "Composed models: the class comes back in the first epoch",
            f"{data}, {what}",
            [Statement("forget", paired(found, found, curve("forget", 1), curve("forget", 0)), low=0.0)],
        )


def claims(out: Path) -> list[Claim]:
    """Those for which there are runs."""
    found: list[Claim] = []
    for data in DATA:
        found += of_controls(runs_of(out, data, "controls"), data)
        for policy in POLICIES:
            found += of_cells(runs_of(out, data, "grid"), data, policy)
        found += of_parts(runs_of(out, data, "partial"), data)
        found += of_composition(runs_of(out, data, "composition"), data)
    return [claim for claim in found if all(statement.values for statement in claim.statements)]


def table(found: Iterable[Claim]) -> list[str]:
    """A Markdown table with a row for each claim."""
    rows = [
        f"| {c.text} | {c.where} | {verdict(c.statements)} | {'; '.join(s.text for s in c.statements)} |" for c in found
    ]
    return ["| claim | data and setting | verdict | numbers |", "| --- | --- | --- | --- |", *rows]


def main() -> None:
    """Print the table and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the folder that sweeps.sh wrote")
    out = parser.parse_args().out
    found = claims(out)
    if not found:
        raise UserError(f"{out}: no runs of this study; make them with sweeps.sh", key="--out", kind="missing")
    draw({data: {part: runs_of(out, data, part) for part in ("grid", "composition")} for data in DATA}).savefig(
        out / "langevin.png"
    )
    print("\n".join(["# Which claims hold", "", *table(found)]))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"claims: {error}")
