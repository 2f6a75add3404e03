"""How many threads a run computes with, and how they wait. Imports no torch: it must act before torch is imported."""

from __future__ import annotations

import os

from ..errors import UserError

USERS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # variables by which a user has chosen already
JOBS = "UNLEARNING_JOBS"  # how many jobs of a sweep share this machine


def wait_passively() -> None:
    """Let OpenMP's threads sleep at barriers instead of spinning, unless the user has said otherwise.

    Spinning threads hold the cores that another process needs: two runs side by side on two cores take ten times as
    long as sleeping ones. OpenMP reads the variable when torch loads it.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_for(wanted: int | None) -> int:
    """The threads of a run: the user's variable, else those ``wanted``, else this job's share of the cores.

    Raises ``UserError`` for a ``wanted`` that is not a number of threads.
    """
    if wanted is not None and (not isinstance(wanted, int) or wanted < 1):
        raise UserError(f"trainer.threads={wanted} must be null or at least 1", key="trainer.threads")
    for name in USERS:
        if (value := os.environ.get(name, "")).isdigit() and int(value) > 0:
            return int(value)
    jobs = os.environ.get(JOBS, "1")
    share = cores() // int(jobs) if jobs.isdigit() and int(jobs) > 0 else cores()
    return max(1, share) if wanted is None else wanted
