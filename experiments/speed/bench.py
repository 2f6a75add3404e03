"""Measure speed against the floors and print one table: ``make bench`` or ``python -m experiments.speed.bench``."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from rich.console import Console
from rich.progress import track

from unlearning.records.log import quiet
from unlearning.runtime.memory import keep_freed

from . import busy, commands, judging, precision, reading, training
from .measure import Claim, markdown, show
from .setting import Bench


def measurements(pairs: int) -> dict[str, Callable[[], list[Claim]]]:
    """The measurements by name; each returns lines of the table."""
    bench = Bench(2_560, held_out=100)
    return {
        "pipeline": lambda: [training.pipeline(bench, pairs)],
        **{name: partial(against_floor, bench, name, pairs) for name in training.METHODS},
        **{f"addon-{name}": partial(with_addon, bench, name, pairs) for name in training.ADDONS},
        **{name: partial(training.against_derivatives, name, pairs) for name in training.DERIVATIVES},
        "exact": lambda: training.exact(pairs),
        "evaluation": lambda: [reading.evaluation(pairs)],
        "metrics": lambda: [judging.metrics(pairs)],
        "attack": lambda: [judging.attack()],
        "report": lambda: [judging.many_runs()],
        "loader": lambda: reading.loader(pairs),
        "help": lambda: commands.help_text(pairs),
        "sweep": commands.sweep,
        "bf16": lambda: precision.bf16(bench, pairs),
        "side-by-side": lambda: busy.side_by_side(pairs),
        "default-job": commands.default_job,
    }


def against_floor(bench: Bench, name: str, pairs: int) -> list[Claim]:
    """The line of a method."""
    return [training.against_floor(bench, name, pairs)]


def with_addon(bench: Bench, name: str, pairs: int) -> list[Claim]:
    """The line of an add-on."""
    return [training.with_addon(bench, name, pairs)]


def main() -> int:
    """Print the table; the exit code is 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="make bench", description="Speed against the floors; takes minutes.")
    parser.add_argument("--pairs", type=int, default=3, help="interleaved repetitions; more on a noisy machine")
    parser.add_argument("--default-job", action="store_true", help="also time `python run.py`; needs an idle machine")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="a method, pipeline, evaluation, loader, sweep, ...")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the table as Markdown")
    options = parser.parse_args()
    torch.set_num_threads(1)
    quiet()
    keep_freed()  # as the command line does
    parts = measurements(options.pairs)
    if unknown := set(options.only or ()) - parts.keys():
        parser.error(f"there is no measurement {', '.join(unknown)}: choose from {', '.join(parts)}")
    wanted = options.only or [name for name in parts if name != "default-job" or options.default_job]
    found: list[Claim] = []
    for name in track(wanted, "Measuring", console=Console(file=sys.stderr)):
        with redirect_stderr(io.StringIO()):  # off a terminal the methods show no progress, which would cost time
            found += parts[name]()
    show(found, Console())
    if options.out:
        options.out.write_text(f"# Results\n\nPrinted by `make bench` ({', '.join(wanted)}).\n\n{markdown(found)}")
    return 0 if all(claim.ok for claim in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
