"""The command line: ``python run.py`` in a checkout, ``unlearn`` where the package is installed."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from . import __version__
from .config.guide import guide
from .errors import UserError
from .runtime.threads import wait_passively


def main(argv: Sequence[str] | None = None, root: Path | None = None) -> int:
    """Do what the command line says; the exit code is 0 only if every run succeeded.

    Args:
        argv: the arguments, without the name of the program; those of the process where it is None.
        root: the folder that holds ``multirun/``, ``store/`` and ``data/``: the current one where it is None.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if {"-h", "--help"} & set(arguments):
        print(guide())  # before Hydra and torch, whose imports take longer than help should take
        return 0
    if "--version" in arguments:
        print(f"unlearning {__version__}")
        return 0
    try:
        return call(arguments, root)
    except UserError as error:
        return complain(str(error))
    except KeyboardInterrupt:
        return complain("interrupted: the run is not finished; the same command starts it again")


def call(arguments: Sequence[str], root: Path | None = None) -> int:
    """``main`` without its handling of errors, which are raised: for programs and tests."""
    wait_passively()  # before torch is imported
    from .sweeps import is_sweep, run_sweep

    words = ["verbose=true" if word in ("-v", "--verbose") else word for word in arguments]
    if "--explain" in words:
        return explain([word for word in words if word != "--explain"], root)
    return run_sweep(words, root) if is_sweep(words) else run_one(words, root)


def complain(line: str) -> int:
    """Print an error as one line; returns the exit code."""
    print(f"error: {' '.join(line.split())}", file=sys.stderr)
    return 1


def run_one(arguments: Sequence[str], root: Path | None) -> int:
    """One run and its table."""
    from omegaconf import DictConfig

    from .config.launch import launched
    from .request import Request, in_first_process
    from .sweeps import execute, request_of

    requests: list[Request] = []

    def task(composed: DictConfig) -> None:
        requests.append(request_of(composed))

    launched(task, arguments, root)
    for request in requests:  # there is none after --cfg or --info
        folder = execute(request)
        if in_first_process():
            show(folder)
    return 0


def explain(arguments: Sequence[str], root: Path | None) -> int:
    """Print which row of the settings' tables set what, and why; nothing is run."""
    from omegaconf import DictConfig

    from .config.launch import launched
    from .sweeps import request_of

    def task(composed: DictConfig) -> None:
        request = request_of(composed)
        print(f"{request.label}: {len(request.rows)} rows of the settings' tables apply.")
        for row in request.rows:
            print(f"\n{row['table']}: {row['why']}")
            for name, value in row["set"].items():
                print(f"  {name} = {value}")

    launched(task, arguments, root)
    return 0


def show(folder: Path) -> None:
    """Print the table of a finished run and where it lies."""
    from .report.run_table import run_table

    file = folder / "results.json"
    try:
        run_table(json.loads(file.read_text()))
        print(file, flush=True)
    except OSError as error:
        raise UserError(
            f"the table cannot be shown ({error.strerror}); its numbers are in {file}", kind="file"
        ) from None


if __name__ == "__main__":
    raise SystemExit(main())
