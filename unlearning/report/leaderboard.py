"""Rank the methods of a folder of runs within each setting, and say of each run what verifies it and what makes it.

Writes leaderboard.md, with a ranked table for each setting and the runs behind it, and leaderboard.csv, with a line for
each run: its folder, the digest of its weights, whether ``python -m unlearning.verify`` recomputes its numbers, and its
command. The order is that of settings, ranks and names, so that whoever adds run folders and repeats the command
changes few lines. Methods are ranked by gap/mean, or by corrective/acc_seen where manipulated samples are left in the
retain set; reference models are not listed, and controls have no rank. Nor has a method without one of the metrics of
gap/mean, and of several settings of a method only the one with the lowest gap/mean_val has a rank. Where there is no
gap/mean_val, all have, and a note says that the best was then chosen on test data.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..metrics.directions import CORRECTED
from ..runtime.files import write_whole
from ..runtime.markdown import escaped
from ..runtime.program import program
from ..verify.command import verdict
from .comparison import competes
from .groups import Group, group_runs, partitioned, spread
from .markdown import row
from .rivals import Rivals, notes_of, rivals
from .runs import Run, collect
from .verdicts import corrective

EXAMPLES = """examples:
  python -m unlearning.report.leaderboard multirun
  make leaderboard ARGS=contributed              after a run's folder was copied to contributed/

exit code: 0 where all runs verify, 1 where one does not or there is none, 2 for wrong usage"""
FIELDS = ("setting", "rank", "method", "metric", "value", "run", "weights", "verified", "command", "unranked")
SHOWN = 12  # digits of a digest in the Markdown table


@dataclass(frozen=True)
class Entry:
    """A method in a setting: its rank (None where it is not ranked) and its runs, each with a verdict.

    ``rivals`` are those of the setting, with the reasons why others are not ranked.
    """

    group: Group
    metric: str
    rank: int | None
    runs: list[tuple[Run, str]]
    rivals: Rivals

    @property
    def values(self) -> list[float]:
        """The metric of the runs that have it."""
        return values_of(self.group, self.metric)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser("python -m unlearning.report.leaderboard", None, __doc__, EXAMPLES)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("runs", metavar="FOLDER", type=Path, help="folder of the runs")
    parser.add_argument("--out", metavar="DIR", type=Path, help="folder for the two files (FOLDER)")
    args = parser.parse_args(argv)
    folder = args.out or args.runs
    try:
        entries = entries_of(collect(args.runs))
        if not entries:
            raise UserError(f"no finished run in {args.runs}: make some with python run.py", kind="file")
        write(entries, folder)
    except UserError as error:
        print(f"leaderboard: {error}", file=sys.stderr)
        return 1
    wrong = [(run, said) for entry in entries for run, said in entry.runs if said != "yes"]
    print(
        "\n".join(f"{run.name} does not verify: {said.removeprefix('no: ')}" for run, said in wrong)
        or "all runs verify"
    )
    print(folder / "leaderboard.md", folder / "leaderboard.csv", sep="\n")
    return 1 if wrong else 0


def entries_of(runs: Iterable[Run]) -> list[Entry]:
    """The methods of all settings, ranked within each, with their runs verified."""
    groups = [group for group in group_runs(runs)[0] if group.row == "unlearned"]
    entries = []
    for there in partitioned(groups, lambda group: group.setting):
        healing = any(corrective(group) for group in there)
        metric = CORRECTED[0] if healing else "gap/mean"
        costs = {id(group): cost(group, metric, -1 if healing else 1) for group in there}
        found = rivals([group for group in there if competes(group) and costs[id(group)] < math.inf], metric)
        ranked = [id(group) for group in found.ranked]
        for group in sorted(there, key=lambda group: (costs[id(group)], group.label)):
            own = costs[id(group)]
            rank = 1 + sum(costs[other] < own for other in ranked) if id(group) in ranked else None
            each = [(run, verified(run)) for run in sorted(group.runs, key=lambda run: run.name)]
            entries.append(Entry(group, metric, rank, each, found))
    return entries


def values_of(group: Group, metric: str) -> list[float]:
    """A metric's value in each of the runs that have it."""
    return [run.values["unlearned"][metric] for run in group.runs if metric in run.values["unlearned"]]


def cost(group: Group, metric: str, sign: int) -> float:
    """What is ranked, from the lowest; infinite without a value."""
    values = values_of(group, metric)
    return sign * spread(values)[0] if values else math.inf


def verified(run: Run) -> str:
    """``yes`` where all numbers of a run follow from its files; else ``no`` and the reason."""
    try:
        found = verdict(run.folder)
    except UserError as error:
        return f"no: {' '.join(str(error).replace(str(run.folder), run.name).split())}"
    wrong = sum(not check.agrees for check in found.checks)
    return f"no: {wrong} of {len(found.checks)} numbers disagree" if wrong else "yes"


def write(entries: Sequence[Entry], folder: Path) -> None:
    """Write both files."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(FIELDS)
    writer.writerows(line for entry in entries for line in lines(entry))
    try:
        for name, text in {"leaderboard.md": page(entries), "leaderboard.csv": file.getvalue()}.items():
            write_whole(folder / name, text.encode(errors="replace"))
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {error.strerror}; name another folder with --out", key="--out", kind="storage"
        ) from error


def lines(entry: Entry) -> list[list[Any]]:
    """A line of the CSV file for each run."""
    return [
        [
            entry.group.setting,
            entry.rank,
            entry.group.label,
            entry.metric,
            run.values["unlearned"].get(entry.metric),
            run.name,
            run.result.get("weights"),
            said,
            run.result.get("command"),
            entry.rivals.why_not(entry.group),
        ]
        for run, said in entry.runs
    ]


def page(entries: Sequence[Entry]) -> str:
    """The Markdown file."""
    parts = ["# Leaderboard", ""]
    for there in partitioned(entries, lambda entry: entry.group.setting):
        metric = there[0].metric
        parts += [f"## {escaped(there[0].group.setting)}", "", row("rank", "method", metric, "n", "verified")]
        parts.append(row("---:", "---", "---:", "---:", "---:"))
        for entry in there:
            mean, _, half = spread(entry.values)
            value = "-" if math.isnan(mean) else f"{mean:.3f}" + (f" ±{half:.3f}" if len(entry.values) > 1 else "")
            good = sum(said == "yes" for _, said in entry.runs)
            rank = "-" if entry.rank is None else str(entry.rank)
            parts.append(
                row(rank, escaped(entry.group.label), value, str(len(entry.values)), f"{good}/{len(entry.runs)}")
            )
        parts += ["", *(f"- {escaped(note)}" for note in notes_of(there[0].rivals))]
        parts += ["", row("run", "weights (SHA-256)", "verified", "command"), row(*["---"] * 4)]
        for run, said in ((run, said) for entry in there for run, said in entry.runs):
            digest, command = str(run.result.get("weights", ""))[:SHOWN], str(run.result.get("command", ""))
            parts.append(row(escaped(run.name), digest, escaped(said), escaped(command)))
        parts.append("")
    return "\n".join(parts)


if __name__ == "__main__":
    program(main)
