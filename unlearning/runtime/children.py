"""The processes that this one has started. Imports no torch."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path


def interrupt_grandchildren() -> None:
    """Send SIGINT to each process that a child of this one has started, so that none goes on without it.

    Submitit's local launcher starts a controller for each job, which ends with the job, and would itself answer with a
    traceback on the screen. Processes are found where the system has ``/proc``, as Linux does.
    """
    parents: dict[int, int] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):  # it has just ended
            parents[int(file.parent.name)] = int(file.read_text(errors="replace").rpartition(")")[2].split()[1])
    for process, parent in parents.items():
        if parents.get(parent) == os.getpid():
            with suppress(OSError):
                os.kill(process, signal.SIGINT)
