"""Which published claims on Langevin unlearning hold: `python -m experiments.langevin.claims --out OUT`.

The script prints a table with a verdict for each claim, data set and setting (see ``statements``), and writes
``langevin.png`` to OUT. Accuracies are those of test samples, of the class and of the others, unless it says otherwise.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.langevin.figure import BATCH, FORGET, GAMMA, NORM, RETAIN, draw
from experiments.langevin.statements import (
    Cell,
    Claim,
    Statement,
    Value,
    paired,
    runs_of,
    select,
    success,
    table,
    value,
)
from unlearning.errors import UserError
from unlearning.report.runs import Run

DATA = ("digits", "digits28", "cifar10")
POLICIES = ("train", "eval", "frozen")
DRAWN = ("grid", "composition")
ALIKE = 0.05  # of an accuracy: two models that differ by less are alike
LAM, RATE = "method.attack.lam", "method.optimizer.lr"


def of_cells(
    grid: Sequence[Run], relative: Sequence[Run], fgsm: Sequence[Run], data: str, policy: str
) -> Iterator[Claim]:
    """The claims on gamma and lambda, of one BatchNorm policy.

    Args:
        grid: runs of several steps, whose gammas are absolute.
        relative: likewise, with gammas in proportion to the gradient.
        fgsm: runs of Boundary Shrink as published, in one step.
        data: the name of the data set.
        policy: of BatchNorm.
    """

    def cell(gamma: float, lam: float = 0.0) -> Cell:
        return select(grid, {GAMMA: gamma * BATCH, LAM: lam * BATCH, NORM: policy})

    def difference(name: str, one: Cell, other: Cell, metric: str, **within: float) -> Statement:
        return Statement(name, paired(one, other, value(metric)), **within)

    shrink, where = cell(0), f"{data}, BatchNorm {policy}"
    noisy = {f"gamma {gamma:g}": cell(gamma) for gamma in (1e-4, 0.01, 0.1, 1)}
    noisy["gamma 0.01 and lambda 0.001, the best as published"] = cell(0.01, 1e-3)
    for gamma in (0.1, 1.0, 10.0):
        noisy[f"gamma {gamma:g} of the gradient's size"] = select(relative, {GAMMA: gamma, NORM: policy})
    for name, found in noisy.items():
        yield Claim(
            "Noise forgets as much as boundary shrink (in as many steps) and keeps as much",
            f"{where}, {name}",
            [
                difference("forget", found, shrink, FORGET, high=ALIKE),
                difference("retain", found, shrink, RETAIN, low=-ALIKE),
            ],
        )
    once = select(fgsm, {NORM: policy})
    yield Claim(
        "Boundary shrink in one step, as published, forgets as much as in several and keeps as much",
        where,
        [
            difference("forget", once, shrink, FORGET, high=ALIKE),
            difference("retain", once, shrink, RETAIN, low=-ALIKE),
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
    pure = cell(1)
    yield Claim(
        "With gamma 1, whose step is pure noise, the class is still forgotten",
        where,
        [Statement("forgotten", paired(pure, pure, value(FORGET, "original"), value(FORGET)), low=ALIKE)],
    )
    tells = any(paired(shrink, pure, success).values())  # where noise alone changes all samples, nothing can be told
    if policy == "eval" and tells:  # the original answers the attack, whatever the policy
        for gamma in (1e-4, 0.01, 0.1):
            yield Claim(
                "Noise leaves nothing of the attack's direction",
                f"{data}, gamma {gamma:g}",
                [
                    Statement("success less that of gamma 1", paired(cell(gamma), pure, success), high=ALIKE),
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
    methods: dict[str, dict[str, Any]] = {
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
        found += of_controls(runs_of(out / data / "controls" / "multirun"), data)
        cells = [runs_of(out / data / part / "multirun") for part in ("grid", "relative", "fgsm")]
        for policy in POLICIES:
            found += of_cells(*cells, data, policy)
        found += of_parts(runs_of(out / data / "partial" / "multirun"), data)
        found += of_composition(runs_of(out / data / "composition" / "multirun"), data)
    return [claim for claim in found if all(statement.values for statement in claim.statements)]


def main() -> None:
    """Print the table and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the folder that sweeps.sh wrote")
    out = parser.parse_args().out
    found = claims(out)
    if not found:
        raise UserError(f"{out}: no runs of this study; make them with sweeps.sh", key="--out", kind="missing")
    shown = {data: {part: runs_of(out / data / part / "multirun") for part in DRAWN} for data in DATA}
    if whole := {data: parts for data, parts in shown.items() if all(parts.values())}:
        draw(whole).savefig(out / "langevin.png")
    print("\n".join(["# Which claims hold", "", "Printed by `sweeps.sh`.", "", *table(found)]))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"claims: {error}")
