"""The number of threads of a run, and how they wait."""

import os
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import composed
from unlearning.runtime import threads


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of eight cores whose user has chosen nothing."""
    for name in (*threads.USERS, threads.CHOSEN, threads.JOBS):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)
    monkeypatch.setattr(threads, "cores", lambda: 8)


@pytest.mark.parametrize(
    ("jobs", "wanted", "expected"), [("1", None, 8), ("4", None, 2), ("16", None, 1), ("4", 3, 3), ("x", None, 8)]
)
def test_jobs_that_run_side_by_side_share_the_cores(
    jobs: str, wanted: int | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(threads.JOBS, jobs)
    assert threads.threads_for(wanted) == expected


@pytest.mark.parametrize(
    ("launcher", "expected"),
    [
        ({"_target_": "x.BasicLauncher"}, 8),
        ({"_target_": "x.JoblibLauncher", "n_jobs": 2}, 4),
        ({"_target_": "x.JoblibLauncher", "n_jobs": -1}, 1),
        ({"_target_": "x.LocalLauncher"}, 2),
        ({"_target_": "x.SlurmLauncher"}, 8),
    ],
)
def test_four_jobs_of_a_sweep_get_what_their_launcher_leaves_them(launcher: dict[str, Any], expected: int) -> None:
    threads.share_with(4, launcher)
    assert threads.threads_for(None) == expected


def test_the_command_line_wins_over_the_variable_and_that_over_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert threads.threads_for(1) == 5  # a row of the trainer's table
    assert threads.threads_for(None) == 5
    assert threads.threads_for(3, explicit=True) == 3
    assert composed("trainer.threads=3")[0]["trainer"]["threads"] == 3
    assert composed()[0]["trainer"]["threads"] == 5


@pytest.mark.parametrize("value", ["0", "-1", "two", ""])
def test_a_variable_that_is_not_a_number_is_left_aside(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert threads.threads_for(2) == 2


CHILD = "from unlearning.runtime import threads; threads.wait_passively(); print(threads.threads_for(2))"


@pytest.mark.parametrize(("users", "expected"), [("", "2"), ("3", "3")])
def test_a_launcher_that_sets_the_variable_does_not_speak_for_the_user(
    users: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As joblib does for its workers: what counts is what the user had set for the first process."""
    monkeypatch.setenv("OMP_NUM_THREADS", users)
    threads.wait_passively()
    launched = os.environ | {"OMP_NUM_THREADS": "8"}
    child = subprocess.run([sys.executable, "-c", CHILD], env=launched, capture_output=True, text=True, check=True)
    assert child.stdout.strip() == expected


@pytest.mark.parametrize(("users", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_wait_passively_unless_the_user_says_otherwise(users: str | None, expected: str) -> None:
    """The command line sets the policy before torch is imported, since OpenMP reads it then."""
    program = (
        "import os, sys, unlearning.cli as cli; assert 'torch' not in sys.modules; "
        "cli.main(['--cfg', 'job', 'tracking=none']); print('policy', os.environ['OMP_WAIT_POLICY'])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {} if users is None else {"OMP_WAIT_POLICY": users}
    found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert found.stdout.splitlines()[-1] == f"policy {expected}"
