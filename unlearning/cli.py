"""The command line: ``python run.py`` in a checkout, ``unlearn`` where the package is installed."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from . import __version__
from .config.arguments import Arguments, read
from .config.guide import guide
from .errors import UserError
from .runtime.program import guarded, program
from .runtime.secrets import redacted
from .runtime.threads import wait_passively

if TYPE_CHECKING:
    from .request import Request


def main(argv: Sequence[str] | None = None, root: Path | None = None) -> int:
    """Do what the command line says; the exit code is 0 only if every run succeeded.

    Args:
        argv: the arguments, without the name of the program; those of the process where it is None.
        root: the folder that holds ``multirun/``, ``store/`` and ``data/``: the current one where it is None.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if {"-h", "--help"} & set(words):
        print(guide())  # before Hydra and torch, whose imports would slow the help down
        return 0
    if "--version" in words:
        print(f"unlearning {__version__}")
        return 0

    def answer() -> int:
        try:
            return call(words, root)
        except UserError as error:
            return complain(str(error))

    return guarded(answer)


def process(root: Path | None = None) -> NoReturn:
    """``main`` as a process of its own."""
    program(lambda: main(root=root))


def call(words: Sequence[str], root: Path | None = None) -> int:
    """``main`` without its handling of errors, which are raised: for programs and tests."""
    wait_passively()  # before torch is imported
    arguments = read(words)
    if arguments.explain:
        return explain(arguments, root)
    if arguments.sweep:
        from .sweeps import run_sweep

        if any(setting.startswith("check=") for setting in arguments.settings):
            raise UserError("check is about one model: leave -m out", key="check", kind="conflict")
        return run_sweep(arguments, root)
    return run_one(arguments, root)


def complain(line: str) -> int:
    """Print an error as one line; returns the exit code."""
    print(f"error: {redacted(' '.join(line.split()))}", file=sys.stderr)
    return 1


def run_one(arguments: Arguments, root: Path | None) -> int:
    """Make one run and print its table."""
    from .config.launch import asked
    from .config.legend import assumed
    from .request import in_first_process
    from .sweeps import execute, request_of

    for request in asked(request_of, arguments, root):
        if in_first_process() and (lines := assumed(request.config)):
            print(*lines, sep="\n")
        if request.claim is not None:
            print(agreement(request))
            continue
        folder = execute(request)
        if in_first_process():
            show(folder)
    return 0


def agreement(request: Request) -> str:
    """The sentence on how the accuracy of the user's own model compares with what the user says of it."""
    from .engine.claim import compared
    from .records.log import quiet
    from .runtime.distributed import join, leave

    quiet()
    join(request.config["trainer"])
    found = compared(request.config, request.claim)
    leave()
    return found


def explain(arguments: Arguments, root: Path | None) -> int:
    """Print which row of the settings' tables set which values, and why; nothing is run."""
    from .config.launch import asked
    from .sweeps import request_of

    if arguments.sweep:
        raise UserError("--explain is about one run: leave -m out, and give one value to each setting", kind="conflict")
    for request in asked(request_of, arguments, root):
        print(f"{request.label}: rows of the settings' tables that apply: {len(request.rows)}")
        for row in request.rows:
            print(f"\n{row['table']}: {row['why']}")
            for name, value in row["set"].items():
                print(f"  {name} = {value}")
    return 0


def show(folder: Path) -> None:
    """Print the table of a finished run, and the path of its results."""
    from .report.run_table import run_table

    file = folder / "results.json"
    try:
        run_table(json.loads(file.read_text()))
        print(file, flush=True)
    except BrokenPipeError:  # the reader has seen enough
        raise
    except OSError as error:
        raise UserError(
            f"the table cannot be shown ({error.strerror}); its numbers are in {file}", kind="storage"
        ) from None


if __name__ == "__main__":
    process()
