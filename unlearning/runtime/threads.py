"""How many threads a run computes with, and how they wait. Imports no torch: it must act before torch is imported."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..errors import UserError

USERS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # variables with which users set the number of threads
CHOSEN = "UNLEARNING_THREADS"  # the user's choice, kept for child processes, whose launcher sets the variables anew
JOBS = "UNLEARNING_JOBS"  # how many jobs of a sweep share this machine


def wait_passively() -> None:
    """Let OpenMP's threads sleep at barriers instead of spinning, unless the user has said otherwise.

    Spinning threads hold the cores that another process needs: two runs side by side on two cores take ten times as
    long as sleeping ones. OpenMP reads the variable when torch loads it.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if inherited() is None:
        os.environ[CHOSEN] = f"{os.getpid()} {users_choice()}"


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_for(wanted: int | None, explicit: bool = False) -> int:
    """The threads of a run: those on the command line, else the user's variable, else a row's, else the job's share.

    Args:
        wanted: ``trainer.threads``; None for the share of the cores.
        explicit: whether the command line set it.

    Raises ``UserError`` for a ``wanted`` that is not a number of threads.
    """
    if wanted is not None and (not isinstance(wanted, int) or wanted < 1):
        raise UserError(f"trainer.threads={wanted} must be null or at least 1", key="trainer.threads")
    if wanted is not None and explicit:
        return wanted
    before = inherited()
    chosen = users_choice() if before is None else before
    if chosen:
        return int(chosen)
    jobs = os.environ.get(JOBS, "1")
    share = cores() // int(jobs) if jobs.isdigit() and int(jobs) > 0 else cores()
    return max(1, share) if wanted is None else wanted


def share_with(jobs: int, launcher: Mapping[str, Any]) -> None:
    """Note how many jobs of a sweep will share this machine, for the processes that a launcher starts.

    Args:
        jobs: how many it is given at once.
        launcher: its settings; ``n_jobs`` (joblib) says how many it runs side by side. Submitit's local launcher runs
            all of them at once; others run one after the other, or elsewhere.
    """
    wanted = launcher.get("n_jobs")
    if wanted is not None:
        os.environ[JOBS] = str(wanted if wanted > 0 else cores())
    elif str(launcher.get("_target_")).endswith(".LocalLauncher"):
        os.environ[JOBS] = str(jobs)
    else:
        os.environ.pop(JOBS, None)


def users_choice() -> str:
    """The user's number of threads, as the variables have it; empty where they have none."""
    values = (os.environ.get(name, "") for name in USERS)
    return next((value for value in values if value.isdigit() and int(value) > 0), "")


def inherited() -> str | None:
    """The user's choice as a parent process recorded it; None in the first process."""
    process, _, chosen = os.environ.get(CHOSEN, "").partition(" ")
    return chosen if process and process != str(os.getpid()) else None
