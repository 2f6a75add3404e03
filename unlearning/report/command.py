"""Mean and 95 % interval over seeds, and what the interval is over: one table for each setting.

Prints the tables and writes them as report.md, report.tex, report.html (one page with figures that needs no network)
and, in long form with every metric, report.csv. Over several settings, critical_difference.svg has the mean ranks of
the methods. Where there are runs of method=retrain, the gaps are given in units of theirs, which are noise, too. Runs
that differ only in seeds form one group; anything else that decides a result separates groups. Runs that failed, were
interrupted or cannot be read are listed below the tables. Nothing is imputed. What python -m unlearning.populations has
found in the same folder (U-LiRA, KLoM and others) is shown, too.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from ..errors import UserError
from ..runtime.files import write_whole
from .comparison import ranked_by
from .critical_diagram import as_file, critical_diagram
from .html import html_page
from .latex import latex
from .markdown import page
from .populations import populations_in
from .program import over_runs
from .runs import Run, collect, read
from .screen import print_report
from .selection import COLUMNS, columns_of, filtered, known_metrics
from .tables import Interval, Report, report_on, rest_of

DIAGRAM = "critical_difference.svg"
EXAMPLES = """examples:
  python -m unlearning.report                                  all runs below ./multirun
  python -m unlearning.report --filter dataset=digits 'method=s*' method=jit
                                                               keys must all hold, values of one key are alternatives
  python -m unlearning.report --filter method.alpha=10         any key of the resolved configuration
  python -m unlearning.report --metrics 'forget/*,gap/*' --out tables
  python -m unlearning.report --heat method.alpha,method.lam --metrics gap/mean,forget/acc
                                                               a heat map of each metric over two swept settings
  python -m unlearning.report --margin 0.02                    a verdict on each method: is it as the retrained model?
  python -m unlearning.report --test gap/mean                  methods against each other: over seeds, and by mean ranks
  python -m unlearning.report --by split.seed                  one row per split, the interval over the other seeds

exit code: 0 with a table, 1 where there is no finished run (or none that passes --filter), 2 for wrong usage"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = over_runs("report", __doc__, EXAMPLES)
    add = parser.add_argument
    add("--metrics", metavar="A,B", default="", help=f"columns of the tables, globs allowed ({','.join(COLUMNS)})")
    add("--by", metavar="KEY,KEY", default="", help="config keys, seeds included, whose values get separate rows")
    add("--heat", metavar="X,Y", default="", help="also draw heat.png: the metrics over these two config keys")
    add("--interval", choices=get_args(Interval), default="student", help="beside each mean: an interval, or the sd")
    add("--margin", metavar="X", type=float, help="say which gaps are shown to be smaller than this (TOST)")
    add(
        "--test",
        metavar="METRIC",
        default="",
        help="compare the methods: paired over seeds, and by ranks over settings",
    )
    add("--out", metavar="DIR", type=Path, help="folder for the report's files (RUNS_DIR)")
    args = parser.parse_args(argv)
    try:
        runs = collect(args.runs)
        if not any(run.state == "done" for run in runs):
            print("\n".join([f"no finished run in {args.runs}", *rest_of(runs)]))
            return 1
        if args.margin is not None and not args.margin > 0:
            raise UserError(
                f"--margin {args.margin:g}: give the largest gap that does not matter, above 0", key="--margin"
            )
        chosen = {"interval": args.interval, "margin": args.margin, "test": args.test}
        report = report_on(runs, args.metrics, args.by, args.filter, **chosen)
        populations, arrows = populations_in(args.runs, report.groups)
        report = replace(report, populations=populations, arrows=report.arrows | arrows)
        print_report(report)
        write(report, args.out or args.runs)
        if args.heat:
            draw(filtered(runs, args.filter), args.heat, args.metrics, args.out or args.runs)
    except UserError as error:
        print(f"report: {error}", file=sys.stderr)
        return 1
    return 0


def show_runs(folders: Sequence[Path]) -> None:
    """Print the tables over the runs in these folders; nothing is written."""
    if folders:
        print_report(report_on([read(folder) for folder in dict.fromkeys(folders)]))


def write(report: Report, folder: Path) -> None:
    """Write the report as Markdown, LaTeX and HTML and its numbers as CSV, and print where they are."""
    ranks = ranked_by(report.groups, report.ranked_by, report.arrows)
    try:
        texts = {"report.md": page(report), "report.tex": latex(report), "report.csv": report.frame.to_csv(index=False)}
        texts["report.html"] = html_page(report, folder, ranks)
        if ranks:
            texts[DIAGRAM] = as_file(critical_diagram(ranks))
        for name, text in texts.items():
            write_whole(folder / name, text.encode(errors="replace"))
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {error.strerror}; name another folder with --out", key="--out", kind="storage"
        ) from error
    print("", *(folder / name for name in texts), sep="\n")


def draw(runs: Sequence[Run], keys: str, metrics: str, folder: Path) -> None:
    """Draw the heat maps of the metrics, those of the tables where none are named, and print where they are."""
    from .heat_map import heat_map

    figure = heat_map(runs, [key.strip() for key in keys.split(",")], columns_of(metrics, known_metrics(runs)))
    picture = io.BytesIO()
    figure.savefig(picture, dpi=150)
    try:
        write_whole(folder / "heat.png", picture.getvalue())
    except OSError as error:
        raise UserError(f"cannot write {folder / 'heat.png'}: {error.strerror}", key="--out", kind="storage") from None
    print(folder / "heat.png")
