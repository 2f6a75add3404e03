"""Judge methods by many finished runs: attacks and distances between unlearned and retrained models.

Runs that differ only in seeds form a population. Where all of them forget the same samples (scenario.seed=0
split.seed=0), the unlearned models are compared with the retrained ones by KLoM, the score of the NeurIPS 2023
challenge, KS and JS. Where each run forgets others, U-LiRA attacks it with the other runs as shadow models: efficacy
asks whether an unlearned model of a sample can be told from a retrained one, privacy whether a forgotten sample can be
told from one that was never learned. Prints a table and writes populations.csv, which make report shows; runs that were
logged to a tracker get a run for their population there. Nothing is trained.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from rich import box
from rich.console import Console
from rich.table import Table

from ..config.legend import ARROWS
from ..errors import UserError
from ..report.command import RUNS
from ..report.populations import FILE
from ..report.runs import collect
from ..report.selection import filtered
from ..runtime.files import write_whole
from .folders import populations
from .klom import Direction
from .scores import Scores, reading, scores
from .tracked import track

EXAMPLES = """examples:
  python run.py -m experiment=klom seed='range(20)' && python -m unlearning.populations
  python -m unlearning.populations RUNS_DIR --filter method=ssd method=retrain
  python -m unlearning.populations --direction 'retrained||unlearned'

method=retrain is the control: what it has, no method can be expected to beat
exit code: 0 with a table, 1 where no runs form a population, 2 for wrong usage"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser("python -m unlearning.populations", None, __doc__, EXAMPLES)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("runs", metavar="RUNS_DIR", nargs="?", type=Path, default=RUNS, help="folder of the runs (./multirun)")
    add("--filter", metavar="KEY=VALUE", nargs="+", action="extend", default=[], help="only these runs; globs allowed")
    add("--direction", choices=get_args(Direction), default=get_args(Direction)[0], help="of KLoM (%(default)s)")
    add("--out", metavar="DIR", type=Path, help=f"folder for {FILE} (RUNS_DIR)")
    args = parser.parse_args(argv)
    try:
        found = [scores(p, args.direction) for p in populations(args.runs, filtered(collect(args.runs), args.filter))]
        if not found:
            raise UserError(
                f"no population in {args.runs}: it takes two finished runs that differ only in seeds and have a "
                "retrained model, such as those of experiment=klom or experiment=ulira"
            )
        for setting in dict.fromkeys(one.population.setting for one in found):
            show([one for one in found if one.population.setting == setting], args.direction)
        write(found, args.out or args.runs)
        for one in found:
            track(one, args.runs)
    except UserError as error:
        print(f"populations: {error}", file=sys.stderr)
        return 1
    return 0


def show(found: Sequence[Scores], direction: str) -> None:
    """Print the scores of one setting, a column per method, and what they are over."""
    console = Console(highlight=False, markup=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("score", no_wrap=True)
    table.add_column("")
    for one in found:
        table.add_column(one.population.method, justify="right")
        table.add_column("by chance", justify="right", style="dim")
    for name in dict.fromkeys(name for one in found for name in one.values):
        cells = (text(of.get(name)) for one in found for of in (one.values, one.floor))
        table.add_row(name, ARROWS[reading(name)], *cells)
    console.print(found[0].population.setting, style="bold")
    console.print(table)
    console.print(
        "↑ higher is better · ↓ lower is better, an attack's success down to its level by chance", style="dim"
    )
    for one in found:
        console.print(f"{one.population.method}: {'; '.join([*one.notes, one.population.over])}")
    if any(name.startswith("klom/") for one in found for name in one.values):
        console.print(f"klom/: KL({direction}) in nats; by chance: of two samples of one distribution")
    console.print()


def text(value: float | None) -> str:
    """A score as the table shows it."""
    return "-" if value is None else f"{value:.3f}"


def write(found: Sequence[Scores], folder: Path) -> None:
    """Write all scores in long form, and print where they are."""
    path = folder / FILE
    file = io.StringIO(newline="")
    lines = csv.writer(file)
    lines.writerow(["setting", "method", "score", "direction", "value", "chance", "runs", "over"])
    for one in found:
        of = one.population
        for name, value in one.values.items():
            read = reading(name), value, one.floor[name]
            lines.writerow([of.setting, of.method, name, *read, of.runs, of.over])
    try:
        write_whole(path, file.getvalue().encode(errors="replace"))
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror}; name another folder with --out", key="--out", kind="storage"
        ) from None
    print(path)
