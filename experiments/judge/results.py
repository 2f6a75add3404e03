"""Which rankings change beyond accuracy, who only fools the output: `python -m experiments.judge.results --out OUT`.

The script prints the tables in Markdown, and writes ``distances.png`` and ``ranks.png`` to OUT. A cost is a distance to
the retrained model of the same seed; 0 is best.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from experiments.judge.figure import distances, mean_rank, ranks
from experiments.judge.judging import INSIDE, JUDGES, Agreement, Setting, agreement, setting
from unlearning.errors import UserError
from unlearning.records.names import DONE
from unlearning.report.groups import spread
from unlearning.report.runs import CONTROLS, collect
from unlearning.report.statistics import critical_difference, friedman

SETTINGS = ("digits-class", "digits-random", "cifar10-class", "cifar10-random")


def number(value: float, decimals: int = 2) -> str:
    """With some decimals; a dash where there is none."""
    return "-" if math.isnan(value) else f"{value:.{decimals}f}"


def row(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def head(*cells: str) -> Iterator[str]:
    """The first two rows of a Markdown table, numbers to the right."""
    yield row(cells)
    yield row(["---", *["---:"] * (len(cells) - 1)])


def headline(settings: Sequence[Setting]) -> Iterator[str]:
    """A row for each judge: how its ranking agrees with that by accuracy and, in brackets, with itself on other seeds.

    Below are the numbers of methods, of those that pass the output, and of those among them that a judge inside fails.
    """
    yield from head("Spearman with accuracy (with itself)", *(there.name for there in settings))
    for judge in JUDGES:
        found = [agreement(there, judge) for there in settings]
        yield row([judge, *("-" if one is None else f"{number(one.spearman)} ({number(one.repeat)})" for one in found)])
    passed = [[method for method in there.ranked if there.passes(method)] for there in settings]
    fooled = [[m for m in own if there.fails(m)] for there, own in zip(settings, passed, strict=True)]
    for name, lists in (
        ("methods", [there.ranked for there in settings]),
        ("seeds", [there.seeds for there in settings]),
    ):
        yield row([name, *(str(len(own)) for own in lists)])
    yield row(["pass the output", *(str(len(own)) for own in passed)])
    yield row(["of these only fool it", *(str(len(own)) for own in fooled)])
    for control in CONTROLS:
        yield row([f"{control}, a control", *(short(there, control) for there in settings)])


def agreements(there: Setting) -> Iterator[str]:
    """A row for each judge beyond accuracy."""
    yield from head("judge", "methods", "Spearman", "95 %", "Kendall", "judge with itself")
    for judge in JUDGES:
        found = agreement(there, judge)
        if found:
            yield row([judge, str(found.methods), *against(judge, found), number(found.repeat)])


def against(judge: str, found: Agreement) -> list[str]:
    """The cells on the agreement with accuracy, which are empty for accuracy itself."""
    if judge == "accuracy":
        return ["", "", ""]
    low, high = map(number, found.interval)
    return [number(found.spearman), f"{low} to {high}", number(found.kendall)]


def costs_of(there: Setting) -> Iterator[str]:
    """A row for each method, the best by accuracy first: mean and standard deviation of each cost, and the rank."""
    judges = [judge for judge in JUDGES if judge in there.costs]
    yield from head("method", "n", *judges, "verdict")
    given = {judge: there.ranks(judge) for judge in judges}
    known = given["accuracy"]
    controls = [name for name in CONTROLS if name in there.costs["accuracy"]]
    for method in [*controls, *sorted(known, key=lambda name: (known[name], name))]:
        cells = [cell(there, judge, method, given[judge].get(method)) for judge in judges]
        name = f"*{method}*" if method in controls else method
        yield row([name, str(len(there.costs["accuracy"][method])), *cells, verdict(there, method)])
    yield row(["limit", "", *(number(there.limit(judge), 3) for judge in judges), ""])


def cell(there: Setting, judge: str, method: str, rank: float | None) -> str:
    """Mean, standard deviation and rank of a method by a judge."""
    values = list(there.of(judge, method).values())
    if not values:
        return "-"
    mean, deviation, _ = spread(values)
    text = f"{mean:.3f}" + ("" if math.isnan(deviation) else f" ± {deviation:.3f}")
    return text + ("" if rank is None else f" ({rank:g})")


def verdict(there: Setting, method: str) -> str:
    """Whether a method passes the output, and what fails it inside."""
    if not there.passes(method):
        return "fails at the output"
    fails = there.fails(method)
    return f"passes the output, fails {', '.join(fails)}" if fails else "passes the output, not shown to fail inside"


def short(there: Setting, method: str) -> str:
    """A verdict in few words; a dash without any run."""
    if not there.of("accuracy", method):
        return "-"
    return "fails" if not there.passes(method) else "only fools it" if there.fails(method) else "passes"


def movers(there: Setting, most: int = 3) -> Iterator[str]:
    """The methods whose mean rank inside differs most from their rank by accuracy, to either side."""
    by = there.ranks("accuracy")
    inside = {judge: there.ranks(judge) for judge in INSIDE if judge in there.costs}
    moved = {
        m: fmean(found[m] for found in inside.values()) - by[m] for m in by if all(m in f for f in inside.values())
    }
    order = sorted(moved, key=lambda method: (moved[method], method))
    for name, methods in (("fall", order[::-1][:most]), ("rise", order[:most])):
        what = ", ".join(f"{method} (from {by[method]:g} to {by[method] + moved[method]:.1f})" for method in methods)
        yield f"Those that {name} most from accuracy to the mean over the judges inside: {what}."


def over_settings(settings: Sequence[Setting]) -> Iterator[str]:
    """What mean ranks over settings tell apart, by accuracy and by each judge."""
    yield from head("judge", "settings", "methods", "Friedman p", "critical difference", "range of mean ranks")
    for judge in JUDGES:
        given = [there.ranks(judge) for there in settings if judge in there.costs]
        shared = sorted(set.intersection(*(set(own) for own in given))) if given else []
        if len(given) < 2 or len(shared) < 2:
            continue
        table = np.array([[own[method] for method in shared] for own in given])
        means = [float(mean) for mean in table.mean(0)]
        apart = critical_difference(len(shared), len(given))
        cells = [judge, str(len(given)), str(len(shared)), f"{friedman(table):.3f}", f"{apart:.1f}"]
        yield row([*cells, f"{min(means):.1f} to {max(means):.1f}"])


def report(settings: Sequence[Setting]) -> Iterator[str]:
    """The whole page."""
    yield from ("# Results of the judge study", "", "## Headline", "", *headline(settings), "")
    yield from ("## Over settings", "", *over_settings(settings), "")
    shared = sorted(set.intersection(*({*there.ranked} for there in settings)))
    order = sorted(shared, key=lambda method: (mean_rank(settings, "accuracy", method), method))
    fooled = {method: sum(there.passes(method) and bool(there.fails(method)) for there in settings) for method in order}
    yield from head("method", *(f"rank by {judge}" for judge in JUDGES), "settings in which it only fools the output")
    for method in order:
        yield row([method, *(number(mean_rank(settings, judge, method), 1) for judge in JUDGES), str(fooled[method])])
    for there in settings:
        yield from ("", f"## {there.name}", "", *agreements(there), "", *movers(there), "", *costs_of(there))
        if there.failed:
            yield from ("", f"Without a result: {', '.join(f'{name} {n}' for name, n in there.failed.items())}.")


def main(out: Path) -> None:
    """Print the tables and draw the figures."""
    folders = {name: out / name / "multirun" for name in SETTINGS}
    begun = {name: folder for name, folder in folders.items() if any(folder.glob(f"*/{DONE}"))}
    found = [setting(name, collect(folder)) for name, folder in begun.items()]
    if not found:
        raise UserError(f"no runs below {out}: make them with sh experiments/judge/sweeps.sh", kind="file")
    print("\n".join(report(found)))
    distances(found).savefig(out / "distances.png")
    ranks(found).savefig(out / "ranks.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="where sweeps.sh has made the runs")
    try:
        main(parser.parse_args().out)
    except UserError as error:
        sys.exit(f"results: {error}")
