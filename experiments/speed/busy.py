"""Two default jobs side by side against one alone: what a run costs on a machine with other work to do."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .commands import ROOT
from .measure import Claim

CORES = 2
CHOSEN = (  # a run decides these by itself
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "UNLEARNING_JOBS",
    "UNLEARNING_THREADS",
)


def side_by_side(pairs: int) -> list[Claim]:
    """Wall seconds of two jobs that start together over those of one, the smallest of interleaved measurements."""
    alone, together = zip(*((seconds(1), seconds(2)) for _ in range(pairs)), strict=True)
    return [
        Claim(
            "wall time of two default jobs side by side on two cores / of one alone",
            min(together) / min(alone),
            2.6,
            note=f"{min(together):.1f} and {min(alone):.1f} s",
        )
    ]


def seconds(jobs: int) -> float:
    """Wall seconds from the start of some default jobs, at the same time, to the end of the last one.

    Each has a folder of its own, so that it trains every model. Raises ``RuntimeError`` for a job that fails.
    """
    environment = {name: value for name, value in os.environ.items() if name not in CHOSEN}
    with tempfile.TemporaryDirectory() as root, confined():
        start = time.perf_counter()
        started = [
            subprocess.Popen(
                [sys.executable, "run.py", f"paths.root={Path(root, str(number))}"],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for number in range(jobs)
        ]
        errors = [job.communicate()[1] for job in started]
        taken = time.perf_counter() - start
    for job, error in zip(started, errors, strict=True):
        if job.returncode:
            raise RuntimeError(f"a default job failed: {error}")
    return taken


@contextmanager
def confined() -> Iterator[None]:
    """Confine this process and those that it starts to two cores, where the system can do so."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(usable)[:CORES])
    try:
        yield
    finally:
        os.sched_setaffinity(0, usable)
