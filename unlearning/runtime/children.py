"""The processes that this one has started. Imports no torch."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path


def interrupt_children() -> None:
    """Send SIGINT to each process that this one has started, so that none goes on without it.

    Those that ignore it, such as the trackers of joblib, end with their parent. They are found where the system has
    ``/proc``, as Linux does.
    """
    own = os.getpid()
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):  # it has just ended
            parent = int(file.read_text(errors="replace").rpartition(")")[2].split()[1])
            if parent == own:
                os.kill(int(file.parent.name), signal.SIGINT)
