"""Kill command lines at random moments, run each again to its end, and compare with the same that were not killed.

  python -m experiments.safety.kills [--kills 100] [--root DIR] [--seed 0]

exit code: 0 where nothing is lost, nothing is there twice and nothing is left to clean up, 1 otherwise
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from experiments.safety.processes import files, results, start, tracked
from unlearning.records.names import DONE, PROVENANCE, SPLIT, TRACKED

SHORT = ("pretrain.epochs=2", "trainer.threads=1")
COMMANDS = (  # families of methods, data sets and kinds of requests
    ("method=ssd",),
    ("method=finetune", "method.epochs=1", "scenario=random", "scenario.count=60"),
    ("method=scrub", "dataset=wine", "scenario=random", "scenario.count=20"),
    ("method=bad_teacher", "method.epochs=1"),
    ("method=gradient_ascent", "addon=saliency", "dataset=wine"),
    ("method=fisher", "dataset=wine"),
    ("-m", "method=ssd", "method.alpha=1,5", "dataset=wine"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        return judge(options.root or Path(folder), kill_many(options.root or Path(folder), options.kills, options.seed))


def kill_many(root: Path, kills: int, seed: int) -> Counter[str]:
    """Kill as many processes; returns what they were doing when they were killed, as far as their files tell."""
    draw, done = random.Random(seed), Counter[str]()
    for number in range(10**6):
        if done.total() == kills:
            break
        words = (*COMMANDS[number % len(COMMANDS)], *SHORT, f"seed={number}")
        began = time.monotonic()
        run_to_end(root / "whole", words)
        took = time.monotonic() - began
        process = start(*words, f"paths.root={root / 'killed'}")
        process.join(draw.uniform(0, took))
        if process.is_alive():
            process.kill()
            process.join()
            done[phase(root / "killed")] += 1
            print(f"kill {done.total()} of {kills}: {' '.join(words)}", file=sys.stderr, flush=True)
        run_to_end(root / "killed", words)
    return done


def run_to_end(root: Path, words: Sequence[str]) -> None:
    """Run a command line; raises where it fails."""
    process = start(*words, f"paths.root={root}")
    process.join()
    if process.exitcode:
        raise RuntimeError(f"exit code {process.exitcode}: {' '.join(words)}")


def phase(root: Path) -> str:
    """What the runs below a root that are not done have come to."""
    begun = [folder for folder in (root / "multirun").glob("*") if (folder / PROVENANCE).exists()]
    if not (undone := [folder for folder in begun if not (folder / DONE).exists()]):
        untold = [folder for folder in begun if not (folder / TRACKED).exists()]
        return "logging" if untold else "before a run, or after it"
    return "writing results" if any((folder / SPLIT).exists() for folder in undone) else "training, evaluating"


def judge(root: Path, kills: Counter[str]) -> int:
    """Print what was lost, made twice and left behind; returns the exit code."""
    whole, killed = results(root / "whole"), results(root / "killed")
    finished, others = tracked(root / "killed")
    lost = [key for key, rows in whole.items() if killed.get(key) != rows]
    twice = [key for key in killed if finished[key] != 1] + sorted(finished.keys() - killed.keys())
    left = sorted(files(root / "whole") ^ files(root / "killed"))
    left += [name for name in files(root / "killed") if name.endswith(".tmp")]
    print(f"kills: {kills.total()} ({', '.join(f'{what}: {count}' for what, count in kills.most_common())})")
    print(f"runs: {len(whole)}; lost or with other numbers: {len(lost)}")
    print(f"run keys that are not FINISHED exactly once in MLflow: {len(twice)}; RUNNING: {others['RUNNING']}")
    print(f"files that a run without kills has not, or has besides: {len(left)}")
    for what in (*lost, *twice, *left):
        print(f"  {what}")
    return int(bool(lost or twice or left or others["RUNNING"]))


if __name__ == "__main__":
    sys.exit(main())
