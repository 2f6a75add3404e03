"""Recompute every number of finished runs from the files in their folders, and compare.

A run's folder holds the predictions of all its models, the labels, the index sets and the unlearned weights. From these
all metrics and gaps follow, with other code than that which wrote them; no store, no data and no network is needed.
Prints a line for each number: as it stands in results.json, recomputed, and their difference; then what cannot be
recomputed, and why.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from . import TOLERANCE

if TYPE_CHECKING:
    from .comparison import Value, Verdict

EXAMPLES = f"""examples:
  python -m unlearning.verify multirun/digits-class-scrub-s0-1e36ae1a9e53
  python -m unlearning.verify RUN_FOLDER --model their_model.safetensors --list delete.txt
  python -m unlearning.verify multirun/*/ | grep -e DISAGREES -e agree

numbers that differ by at most {TOLERANCE:g} agree
exit code: 0 where all numbers agree, 1 where one does not or a folder cannot be read, 2 for wrong usage"""
BROKEN = (KeyError, IndexError, TypeError, ValueError, AttributeError)  # of files that do not fit each other


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser("python -m unlearning.verify", None, __doc__, EXAMPLES)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("runs", metavar="RUN_FOLDER", nargs="+", type=Path, help="folder of a finished run")
    about = "the checkpoint that the run was given, to compare with the digests of its results"
    parser.add_argument("--model", metavar="FILE", type=Path, help=about)
    about = "the list that the run was given by scenario=list, likewise"
    parser.add_argument("--list", metavar="FILE", type=Path, help=about)
    args = parser.parse_args(argv)
    return max([verify(folder, args.model, args.list) for folder in args.runs])


def verify(folder: Path, model: Path | None = None, listing: Path | None = None) -> int:
    """Print what is found about a run, its original ``model`` and its list; returns 0 where all agrees, else 1."""
    try:
        found = verdict(folder, model, listing)
    except UserError as error:
        print(f"verify: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    print(folder)
    print("\n".join(lines_of(found)), flush=True)
    return 0 if found.agrees else 1


def verdict(folder: Path, model: Path | None = None, listing: Path | None = None) -> Verdict:
    """What is found about the run in a folder, and about its original model and its list if their files are given.

    Raises ``UserError`` where files cannot be read or do not fit.
    """
    from .comparison import Verdict, compared  # here, since torch and scikit-learn take seconds
    from .files import read
    from .model import checks
    from .proof import checks as proof

    try:
        files = read(folder)
        found = compared(files)
        found = Verdict([*found.checks, *proof(files.results, folder, listing)], found.beyond)
        if model is None:
            return found
        beyond = {name: why for name, why in found.beyond.items() if name != "original_weights"}
        return Verdict([*found.checks, *checks(files.results, model)], beyond)
    except BROKEN as error:
        raise UserError(
            f"the files in {folder} do not fit each other, or are no run's: {type(error).__name__}: {error}",
            kind="file",
        ) from None


def lines_of(verdict: Verdict) -> list[str]:
    """The table, what cannot be recomputed, and how many numbers agree."""
    heads = [("number", "in results.json", "recomputed", "difference")]
    rows = heads + [
        (
            check.name,
            text(check.stated),
            text(check.found),
            ("" if check.difference is None else f"{check.difference:.1e}") + ("" if check.agrees else " DISAGREES"),
        )
        for check in verdict.checks
    ]
    wide, *widths = (max(len(row[column]) for row in rows) for column in range(3))
    lines = [f"  {row[0]:{wide}}  {row[1]:>{widths[0]}}  {row[2]:>{widths[1]}}  {row[3]}".rstrip() for row in rows]
    lines += [f"  cannot be recomputed: {name}: {why}" for name, why in verdict.beyond.items()]
    wrong = sum(not check.agrees for check in verdict.checks)
    count = len(verdict.checks)
    return [*lines, f"  {wrong} of {count} numbers DISAGREE" if wrong else f"  all {count} numbers agree"]


def text(value: Value) -> str:
    """A value as the table shows it: numbers with nine digits, the beginning of a digest."""
    if isinstance(value, bool) or value is None:
        return {None: "none", True: "true", False: "false"}[value]
    return value[:12] if isinstance(value, str) else f"{value:.9g}"
