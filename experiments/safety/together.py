"""Start many processes at once on a fresh store and a fresh database, and count what each model and run was made.

  python -m experiments.safety.together [--processes 16] [--root DIR]

All processes are given the same command, and then each its own: of one original model with other settings of a method.

exit code: 0 where each model was trained once and each run recorded once, without an error, 1 otherwise
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from experiments.safety.processes import results, start, tracked

WORDS = ("method=ssd", "pretrain.epochs=5", "trainer.threads=1")
TRAINED = re.compile(r"\b(?:models|unlearned) ([0-9a-f]+): made")  # a line of a run's log


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--root", type=Path)
    options = parser.parse_args(argv)
    count = options.processes
    with tempfile.TemporaryDirectory() as folder:
        root = options.root or Path(folder)
        same = judge("the same", root / "same", [WORDS] * count, 1)
        different = [(*WORDS, f"method.alpha={1 + number}") for number in range(count)]
        return max(same, judge("different", root / "different", different, count))


def judge(name: str, root: Path, commands: Sequence[Sequence[str]], runs: int) -> int:
    """Start all commands at once, and print what they made; returns the exit code, 0 for as many ``runs``."""
    start("--version").join()  # imports what the others then have
    began = time.monotonic()
    processes = [start(*words, f"paths.root={root}") for words in commands]
    for process in processes:
        process.join()
    seconds = time.monotonic() - began
    logs = [file.read_text() for file in (root / "multirun").glob("*/log.txt")]
    trained = [key for text in logs for key in TRAINED.findall(text)]
    finished, others = tracked(root)
    errors = sum(process.exitcode != 0 for process in processes)
    print(f"{len(commands)} processes, {name}: {errors} errors, {seconds:.0f} s")
    print(f"  models: {len(set(trained))}, trained {len(trained)} times; runs: {len(results(root))}")
    print(f"  in MLflow: {finished.total()} FINISHED of {len(finished)} runs, {others.total()} with another status")
    once = len(trained) == len(set(trained)) == 2 + runs and finished.total() == len(finished) == runs
    return int(bool(errors or others) or not once or len(results(root)) != runs)


if __name__ == "__main__":
    sys.exit(main())
