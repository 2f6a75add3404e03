"""Mean and 95 % interval over seeds, with what the interval is over: one table for each setting.

Prints the tables and writes them as report.md and, in long form with every metric, report.csv. Runs that differ only in
seeds are one group; anything else that decides a result separates groups. What failed, was cut short or cannot be read
is listed below the tables, and nothing is imputed.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.schema import ROOT
from ..errors import UserError, nearest
from ..metrics.directions import CORRECTED, LEGEND, MEAN_OVER
from .figures import FIGURES
from .groups import aggregate, group_runs
from .runs import Run, collect, read, text_of
from .tables import arrows_of, count, layout, lines, markdown, notes

if TYPE_CHECKING:
    import pandas as pd

RUNS = ROOT / "multirun"  # as paths.runs in conf/config.yaml
COLUMNS = (*CORRECTED, *MEAN_OVER, "gap/mean", "cost/seconds")
EXAMPLES = """examples:
  python -m unlearning.report                                  all runs of the default folder
  python -m unlearning.report --filter dataset=digits 'method=s*' method=jit
                                                               keys must all hold, values of one key are alternatives
  python -m unlearning.report --filter method.alpha=10         any key of the resolved config
  python -m unlearning.report --metrics 'forget/*,gap/*' --out tables
  python -m unlearning.report --by split.seed                  a row for each split, the interval over the other seeds
  python -m unlearning.report --figure gamma                   corrective scenarios: accuracy against the known part

exit code: 0 with a table, 1 where there is no finished run (or none that passes --filter), 2 for wrong usage"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser("python -m unlearning.report", None, __doc__, EXAMPLES)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("runs", metavar="RUNS_DIR", nargs="?", type=Path, default=RUNS, help="folder of the runs (multirun)")
    add("--metrics", metavar="A,B", default="", help=f"columns of the tables, globs allowed ({','.join(COLUMNS)})")
    add("--by", metavar="KEY,KEY", default="", help="config keys, seeds included, to give rows of their own")
    add("--filter", metavar="KEY=VALUE", nargs="+", action="extend", default=[], help="only these runs; globs allowed")
    add("--figure", choices=FIGURES, nargs="+", default=[], help="of corrective scenarios: also write NAME.png")
    add("--out", metavar="DIR", type=Path, help="where report.csv, report.md and figures go (RUNS_DIR)")
    args = parser.parse_args(argv)
    try:
        runs = collect(args.runs)
        if not any(run.state == "done" for run in runs):
            print("\n".join([f"no finished run in {args.runs}", *_rest(runs, 0)]))
            return 1
        _write(args.out or args.runs, *_tables(runs, args.metrics, args.by, args.filter))
        for name in args.figure:
            figure = FIGURES[name](_filtered([run for run in runs if run.state == "done"], args.filter))
            figure.savefig(file := (args.out or args.runs) / f"{name}.png")
            print(file)
    except UserError as error:
        print(f"report: {error}", file=sys.stderr)
        return 1
    return 0


def show(folders: Sequence[Path]) -> None:
    """Print the tables over just these run directories; nothing is written."""
    if folders:
        _tables([read(folder) for folder in dict.fromkeys(folders)])


def _tables(
    runs: list[Run], metrics: str = "", by: str = "", filters: Sequence[str] = ()
) -> tuple[pd.DataFrame, list[str]]:
    """Print a table for each setting, and below them the runs that are in none.

    Returns the aggregate over all metrics, and what was printed as parts of a Markdown page, with all columns.
    """
    from rich.console import Console
    from rich.padding import Padding

    console = Console(highlight=False, markup=False)
    done = _filtered([run for run in runs if run.state == "done"], filters)
    keys = [_known_key(done, key) for key in by.split(",") if key]
    reported = {metric for run in done for row in run.values.values() for metric in row}
    failed = {name for run in done for names in run.failed.values() for name in names if "/" in name}
    known = sorted(reported | failed)
    columns = _columns(metrics, known)
    groups, repeats = group_runs(done, keys)
    frame, arrows = aggregate(done, known, keys), arrows_of(done)
    pages = []
    for setting, table in frame.groupby("setting", sort=False):
        there = [c for c in columns if c in set(table.metric)]
        found = lines(table, there)
        below = notes(table[table.metric.isin(there)], found, [g for g in groups if g.setting == setting])
        console.print(setting, style="bold")
        console.print(layout(found, there, arrows, console))
        for note in below:
            console.print(Padding(note, (0, 0, 0, 1), expand=False))
        console.print()
        pages.append(markdown(setting, found, there, arrows, below))
    console.print(LEGEND, style="dim")
    if rest := _rest(runs, repeats):
        console.print("\n" + "\n".join(rest), soft_wrap=True)
        listed = [f"  - {text.strip()}" if text.startswith(" ") else f"- {text}" for text in rest]
        pages.append("\n".join(["## Not in a table", "", *listed, ""]))
    return frame, pages


def _filtered(runs: list[Run], filters: Sequence[str]) -> list[Run]:
    wanted: dict[str, list[str]] = defaultdict(list)
    for text in filters:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--filter {text}: write key=value, such as method=ssd or split.seed=0")
        wanted[_known_key(runs, key)].append(value)
    kept = [r for r in runs if all(any(_matches(r.lookup(k), v) for v in vs) for k, vs in wanted.items())]
    if filters and not kept:
        raise UserError(f"no finished run passes --filter {' '.join(filters)}")
    return kept


def _matches(value: Any, pattern: str) -> bool:
    if isinstance(value, float):
        try:
            return value == float(pattern)  # 1e-3 is .001
        except ValueError:
            pass
    return fnmatchcase(text_of(value), pattern) or text_of(value) == pattern  # [3] is a glob, too


def _known_key(runs: Iterable[Run], key: str) -> str:
    known = {k for run in runs for k in (*run.choices, *run.config)}
    if key not in known:
        raise UserError(f"no run has the config key {key}: {nearest(key, known)}")
    return key


def _columns(patterns: str, known: Sequence[str]) -> list[str]:
    """The metrics that ``--metrics`` names; by default those of ``COLUMNS`` that exist."""
    if not patterns:
        return [c for c in COLUMNS if c in known]
    columns: list[str] = []
    for pattern in filter(None, (p.strip() for p in patterns.split(","))):
        found = [metric for metric in known if fnmatchcase(metric, pattern)]
        if not found:
            raise UserError(f"no run has a metric {pattern}: {nearest(pattern, known)}")
        columns += [metric for metric in found if metric not in columns]
    return columns


def _rest(runs: Iterable[Run], repeats: int) -> list[str]:
    """What is in no table, and why."""
    texts = []
    for state in ("failed", "unreadable", "unfinished"):
        there = [f"  {run.name}" + (f": {run.why}" if run.why else "") for run in runs if run.state == state]
        if there:
            texts += [f"{count(len(there), f'{state} run')}:", *there]
    if repeats:
        texts.append(f"{count(repeats, 'run')} left out: each repeats the configuration and seeds of another")
    return texts


def _write(folder: Path, frame: pd.DataFrame, pages: list[str]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.md").write_text("\n".join(["# Report", "", LEGEND + ".", "", *pages]), encoding="utf-8")
        frame.to_csv(folder / "report.csv", index=False)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; name another folder with --out") from error
    print(f"\n{folder / 'report.md'}\n{folder / 'report.csv'}")
