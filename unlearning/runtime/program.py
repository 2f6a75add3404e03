"""What all command lines of this package share: how they begin and how they end. Imports no torch."""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from .. import __version__
from .interrupts import exit_code, forget, heard, interrupted

GONE = 128 + signal.SIGPIPE  # the exit code of a program whose reader has left, as in ``... | head``


def program(main: Callable[[], int]) -> NoReturn:
    """End the process with the exit code of ``main``, which prints its own errors as lines.

    Characters that the screen's encoding lacks become question marks. A reader that leaves ends the program without a
    word, and Ctrl-C and SIGTERM with one line.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    if "--version" in sys.argv[1:]:
        print(f"unlearning {__version__}")
        leave(0)
    leave(guarded(main))


def guarded(main: Callable[[], int]) -> int:
    """The exit code of ``main``, whatever it raises that is not a fault of the program."""
    try:
        os.getcwd()
    except OSError:
        print("error: the current folder does not exist any more: change to one that does", file=sys.stderr)
        return 1
    try:
        with heard():
            try:
                code = main()
                sys.stdout.flush()
                return code
            except BaseException as error:
                if not interrupted(error):
                    raise
                return say_interrupted()
    except BrokenPipeError:
        return GONE
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # rich's answer to it
            return GONE
        raise


def say_interrupted() -> int:
    """Say so, and return the exit code."""
    with suppress(OSError):
        print("interrupted; the same command goes on", file=sys.stderr, flush=True)
    return exit_code()


def leave(code: int) -> NoReturn:
    """End the process.

    Objects that a traceback holds would be reported by the bindings of libraries (nanobind) as leaks, one line each:
    so none is kept. What a screen that is gone has not taken is dropped.

    After an interrupt it ends at once: the threads of libraries may be in the middle of a step, and then Python's own
    way out aborts now and then ("Fatal Python error: PyThreadState_Get").
    """
    stopped = interrupted()
    forget()
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if stopped:
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)
    gc.collect()
    sys.exit(code)
