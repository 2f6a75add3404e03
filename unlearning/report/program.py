"""What the programs that read a folder of finished runs have in common."""

from __future__ import annotations

import argparse
from pathlib import Path

RUNS = Path("multirun")  # below the current folder, as paths.runs in conf/config.yaml


def over_runs(name: str, about: str | None, examples: str) -> argparse.ArgumentParser:
    """The parser of ``python -m unlearning.<name>``, with the folder of the runs and the choice among them.

    Args:
        about: stands before the options.
        examples: stands behind them.
    """
    parser = argparse.ArgumentParser(f"python -m unlearning.{name}", None, about, examples)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("runs", metavar="RUNS_DIR", nargs="?", type=Path, default=RUNS, help="folder of the runs (./multirun)")
    add("--filter", metavar="KEY=VALUE", nargs="+", action="extend", default=[], help="only these runs; globs allowed")
    return parser
