"""What the store holds, by data set; trim it, and purge what was made of someone's data.

The store keeps decoded pixels, trained and unlearned models, observations and predictions, so that runs share them. All
of it is made again when a run needs it. A finished run needs nothing of it: its folder verifies by itself.

ls     list what is there, by kind and data set
gc     remove what was not used for long, or the longest, until the rest is small enough
purge  remove all that was made of a data set, or of any data set that has files of a list; or from the folder of a
       run what shows images or may name them, after which it still verifies
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError

if TYPE_CHECKING:
    from .contents import Item

EXAMPLES = """examples:
  python -m unlearning.store ls
  python -m unlearning.store gc --older-than 30 --dry-run
  python -m unlearning.store gc --larger-than 20G
  python -m unlearning.store purge --dataset photos
  python -m unlearning.store purge --list delete.txt
  python -m unlearning.store purge --run multirun/RUN

exit code: 0 where all was done, 1 where something is in use, not found or cannot be read, 2 for wrong usage"""
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
UNKNOWN = "unknown, or no folder"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser("python -m unlearning.store", None, __doc__, EXAMPLES)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("action", choices=("ls", "gc", "purge"))
    add = parser.add_argument
    add("--store", metavar="DIR", type=Path, default=Path("store"), help="paths.store of the runs (./store)")
    add("--older-than", metavar="DAYS", type=float, help="gc: what was not used for so many days")
    add("--larger-than", metavar="SIZE", type=size, help="gc: the oldest, until the rest has this size, such as 20G")
    add("--dataset", metavar="DIR", type=Path, help="purge: all that was made of the images in this folder")
    add("--list", metavar="FILE", type=Path, help="purge: of data sets with files that this lists, as scenario=list")
    add("--run", metavar="DIR", type=Path, nargs="+", help="purge: gallery and log in the folders of these runs")
    add("--column", metavar="NAME", help="of the list, where it is CSV or JSON")
    add("--dry-run", action="store_true", help="say what would be removed, and remove nothing")
    args = parser.parse_args(argv)
    given = {"gc": (args.older_than, args.larger_than), "purge": (args.dataset, args.list, args.run)}
    if args.action != "ls" and all(value is None for value in given[args.action]):
        parser.error(f"{args.action} needs one of its options: see --help")
    if any(value is not None for action, values in given.items() if action != args.action for value in values):
        parser.error(f"that option is not one of {args.action}: see --help")
    try:
        if args.run is not None:
            purge_runs(args.run, args.dry_run)
            if args.dataset is None and args.list is None:
                return 0
        return act(args)
    except UserError as error:
        print(f"store: {' '.join(str(error).split())}", file=sys.stderr)
        return 1


def size(text: str) -> float:
    """A number of bytes, such as ``20G``."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)B?", text.strip().upper())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text} is not a size such as 500M or 20G")
    return float(found[1]) * UNITS[found[2]]


def purge_runs(folders: Iterable[Path], dry: bool) -> None:
    """Remove from the folders of runs what shows images or may name them, and say what is left and why."""
    from .purge import of_run

    for folder, files in [(folder, of_run(folder)) for folder in folders]:  # all are looked at before any is changed
        for file in files if not dry else ():
            file.unlink()
        names = ", ".join(file.name for file in files) or "nothing"
        print(f"{folder}: {'would remove' if dry else 'removed'} {names}")
    print(
        "left, because verification needs it: the numbers, labels and predictions of the samples, and the command; "
        "copies in MLflow are yours to remove"
    )


def act(args: argparse.Namespace) -> int:
    """Do what the command line says."""
    from ..scenarios.entries import read_entries  # here, since torch takes seconds
    from .contents import items
    from .purge import of_dataset, older, remove, surplus, with_files

    if not args.store.is_dir():
        raise UserError(
            f"there is no store in {args.store}: set --store DIR to the paths.store of the runs", kind="file"
        )
    found = items(args.store)
    if args.action == "ls":
        show(found)
        return 0
    chosen: dict[Path, Item] = {}
    unknown: list[str | int] = []
    if args.older_than is not None:
        chosen |= {item.path: item for item in older(found, args.older_than, time.time())}
    if args.larger_than is not None:
        chosen |= {item.path: item for item in surplus(found, args.larger_than)}
    if args.dataset is not None:
        chosen |= {item.path: item for item in of_dataset(found, args.dataset)}
        if not chosen:
            raise UserError(
                f"the store has nothing that was made of {args.dataset}: ls shows the folders that it knows; each is "
                "named by itself, not by one around it",
                kind="choice",
            )
    if args.list is not None:
        holding, unknown = with_files(found, read_entries(args.list, args.column), args.store)
        chosen |= {item.path: item for item in holding}
    busy = [] if args.dry_run else remove(chosen.values(), args.store)
    done = [item for item in chosen.values() if item not in busy]
    show(done)
    print(f"{'would remove' if args.dry_run else 'removed'} {len(done)} entries of {written(total(done))}")
    if unknown:
        print(f"in no data set of the store: {len(unknown)} entries of {args.list}")
        print("ids, values of a column, and paths of a folder that was moved are not found: purge --dataset FOLDER")
    if args.action == "purge" and (blind := [i for i in found if not i.folders and i.path not in chosen]):
        print(f"left: {len(blind)} entries whose folder is not known; gc --older-than 0 removes all entries")
    for item in busy:
        print(f"store: {item.path} is in use: repeat this when no run is making it", file=sys.stderr)
    return 1 if busy or unknown else 0


def show(found: Iterable[Item]) -> None:
    """Print a line for each kind of entry of each data set."""
    groups: dict[tuple[str, str], list[Item]] = {}
    for item in found:
        groups.setdefault((", ".join(item.folders) or UNKNOWN, item.kind), []).append(item)
    rows = [("entries", "size", "days", "kind", "data set")]
    for (folders, kind), group in sorted(groups.items()):
        ages = [(time.time() - item.used) / 86400 for item in group]
        span = f"{min(ages):.0f}-{max(ages):.0f}" if len(group) > 1 else f"{ages[0]:.0f}"
        rows.append((str(len(group)), written(total(group)), span, kind, folders))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(row[:3], widths, strict=False)]
        print("  ".join([*cells, f"{row[3]:{widths[3]}}", row[4]]))


def total(found: Iterable[Item]) -> int:
    """The bytes of some entries."""
    return sum(item.size for item in found)


def written(count: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
