"""Sweeps by launchers that run jobs side by side: one table, shared cores, and no job left after an interrupt."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.command_line import FAST, ROOT, names, runs
from tests.test_cli_interrupts import INTERRUPTED
from unlearning.runtime.threads import CHOSEN, JOBS, USERS, cores

pytestmark = pytest.mark.slow
JOINED = "gap/mean: mean absolute gap"  # the legend of the tables
LAUNCHERS = [
    pytest.param("hydra_plugins.hydra_joblib_launcher", ["joblib", "hydra.launcher.n_jobs=2"], 2, id="joblib"),
    pytest.param("hydra_plugins.hydra_submitit_launcher", ["submitit_local"], 3, id="submitit_local"),
]


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who has chosen no number of threads."""
    for name in (*USERS, CHOSEN, JOBS):
        monkeypatch.setenv(name, "1")
        monkeypatch.delenv(name)


def sweep(root: Path, launcher: list[str], *more: str) -> subprocess.Popen[str]:
    """Three jobs on one data set, as a process whose children can be told by their environment."""
    words = [f"hydra/launcher={launcher[0]}", *launcher[1:], *FAST, f"paths.root={root}", "seed=0,1,2", *more]
    return subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), "-m", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"UNLEARNING_TEST": str(root)},
    )


def alive(root: Path) -> list[int]:
    """The processes that a sweep has started, at any depth."""
    mark, found = f"UNLEARNING_TEST={root}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize(("plugin", "launcher", "jobs"), LAUNCHERS)
def test_jobs_side_by_side_end_with_one_table(plugin: str, launcher: list[str], jobs: int, tmp_path: Path) -> None:
    pytest.importorskip(plugin)
    out, err = (process := sweep(tmp_path, launcher)).communicate(timeout=900)
    assert process.returncode == 0, out + err
    assert out.count(JOINED) == 1
    assert all(line.startswith("waiting for ") for line in err.splitlines()), err
    done = [folder for folder in runs(tmp_path) if "DONE" in names(folder)]
    threads = [json.loads((folder / "results.json").read_text())["config"]["trainer"]["threads"] for folder in done]
    assert threads == [max(1, cores() // jobs)] * 3
    assert not alive(tmp_path)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes where Linux has them")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize(("plugin", "launcher", "jobs"), LAUNCHERS)
def test_an_interrupted_launcher_leaves_no_job_running(
    plugin: str, launcher: list[str], jobs: int, number: int, tmp_path: Path
) -> None:
    pytest.importorskip(plugin)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = sweep(tmp_path, launcher, "pretrain.epochs=1000")
    deadline = time.monotonic() + 600
    while len(list((tmp_path / "store").glob("models/.*.lock"))) < 1 and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(number)
    _, err = process.communicate(timeout=300)
    assert (process.returncode, err.splitlines()[-1] + "\n") == (128 + number, INTERRUPTED), err
    assert all(line.startswith("waiting for ") for line in err.splitlines()[:-1]), err
    for _ in range(100):
        if not alive(tmp_path):
            break
        time.sleep(0.2)
    assert not alive(tmp_path)
    assert not [folder for folder in runs(tmp_path) if {"DONE", "FAILED"} & names(folder)]
