"""Runs that are interrupted, killed, or short of disk or screen; and several at once."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import FAST, ROOT, Done, names, runs, start
from unlearning.methods.finetune import FineTune
from unlearning.pipeline import run
from unlearning.runtime.interrupts import Interrupted, exit_code, heard, held

Command = Callable[..., Done]
INTERRUPTED = "interrupted; the same command goes on\n"
TRIAL = ("tracking=none", "debug=fast", "method=finetune")


@pytest.fixture(autouse=True)
def _interrupts_are_heard() -> Iterator[None]:
    """Python's own handler: a shell that starts the tests in its background has them ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


# In this process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("sweep", [[], ["-m"]], ids=["one run", "a sweep"])
def test_an_interrupt_while_a_model_is_trained_is_one_line(
    number: int, sweep: list[str], command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning turns both signals into exits, and SIGTERM into one with exit code 0."""
    with monkeypatch.context() as patch:
        patch.setattr(FineTune, "on_train_epoch_start", lambda _: signal.raise_signal(number))
        done = command(*sweep, *TRIAL, "force=true")
    assert done == Done(128 + number, "", INTERRUPTED)
    (folder,) = runs(tmp_path)
    assert names(folder) == {"log.txt", "provenance.json"}
    assert "Traceback" not in (folder / "log.txt").read_text()
    assert not list((tmp_path / "store").rglob("*.tmp"))
    again = command(*sweep, *TRIAL)
    assert again.code == 0
    assert "DONE" in names(folder)


def test_an_interrupt_can_be_caught_and_comes_again(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning's handler, which ignores signals, does not stay."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(FineTune, "on_train_epoch_start", lambda _: signal.raise_signal(signal.SIGINT))
        assert command(*TRIAL, "force=true").code == 130
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_an_interrupt_waits_for_what_is_being_written_and_the_second_one_does_not() -> None:
    written = []

    def write(*numbers: int) -> None:
        with held(), held():
            for number in numbers:
                signal.raise_signal(number)
            written.append("whole")

    with heard(), pytest.raises(Interrupted):
        write(signal.SIGTERM)
    assert (written, exit_code()) == (["whole"], 143)
    with heard(), pytest.raises(Interrupted):
        write(signal.SIGINT, signal.SIGTERM)
    assert (written, exit_code()) == (["whole"], 130)


@pytest.mark.slow
def test_an_interrupt_that_a_library_makes_into_another_error_is_still_one(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def swallow(_: FineTune) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise ImportError("half imported") from None

    monkeypatch.setattr(FineTune, "on_train_epoch_start", swallow)
    assert command("-m", *TRIAL, "seed=0,1", "force=true") == Done(143, "", INTERRUPTED)
    (folder,) = runs(tmp_path)
    assert names(folder) == {"log.txt", "provenance.json"}


def test_an_interrupted_sweep_tells_what_is_done(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(request: Any) -> Path:
        if request.config["seed"] == 1:
            signal.raise_signal(signal.SIGINT)
        return run(request)

    monkeypatch.setattr("unlearning.pipeline.run", end)
    done = command("-m", *TRIAL, "seed=0,1,2")
    assert (done.code, done.err) == (130, INTERRUPTED)
    assert "1. seed=0" in done.out
    assert "2. seed=1" not in done.out
    assert "gap/mean: mean absolute gap" in done.out  # the legend of the tables


def test_an_interrupt_while_a_run_is_logged_keeps_it_and_leaves_no_run_open(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    logged = []

    class Interrupting:
        def check(self) -> None:
            pass

        def log_run(self, tracked: Any) -> str:
            signal.raise_signal(signal.SIGTERM)
            logged.append(tracked.status)
            return "id"

    monkeypatch.setattr("unlearning.records.tracking.NoTracking", Interrupting)
    assert command(*TRIAL) == Done(143, "", INTERRUPTED)
    assert logged == ["FINISHED"]
    (folder,) = runs(tmp_path)
    assert "DONE" in names(folder)
    assert not {"FAILED"} & names(folder)
    assert command(*TRIAL).code == 0
    assert logged == ["FINISHED"]


# Processes


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("seconds", [0.5, 2, 4, 6, 8])
def test_a_signal_at_any_time_is_one_line(number: int, seconds: float, tmp_path: Path) -> None:
    process = start("-m", *TRIAL, "seed=0,1,2,3", f"paths.root={tmp_path}")
    time.sleep(seconds)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    if process.returncode:  # it may have been faster
        assert (process.returncode, err) == (128 + number, INTERRUPTED), out


@pytest.mark.slow
def test_a_failing_sweep_lists_no_leaked_objects(tmp_path: Path) -> None:
    process = start("-m", *TRIAL, "seed=0", "method.optimizer.lr=1e30", f"paths.root={tmp_path}")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (1, ""), out


@pytest.mark.parametrize(
    "tracking", ["none", pytest.param("sqlite", marks=pytest.mark.slow)], ids=["shown", "shown and logged"]
)
def test_a_finished_run_is_shown_without_importing_torch(command: Command, places: list[str], tracking: str) -> None:
    before = command(*FAST)
    process = start(*places, f"tracking={tracking}", *FAST[1:], PYTHONPROFILEIMPORTTIME="1")
    out, imported = process.communicate(timeout=240)
    assert process.returncode == 0
    assert out.split() == before.out.split()
    assert "unlearning.cli" in imported
    modules = set(imported.replace("|", " ").split())
    assert "torch" not in modules
    assert ("mlflow" in modules) == (tracking == "sqlite")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize(
    "sweep", [pytest.param([], id="one run"), pytest.param(["-m"], id="a sweep", marks=pytest.mark.slow)]
)
def test_a_table_that_cannot_be_printed(command: Command, places: list[str], sweep: list[str]) -> None:
    command(*FAST)
    with open("/dev/full", "w") as full:
        process = start(*sweep, *places, *FAST, stdout=full)
        _, err = process.communicate(timeout=240)
    assert process.returncode == 1
    (line,) = err.strip().splitlines()
    assert line.startswith("error: no summary of the sweep" if sweep else "error: the table cannot be shown (No space")


def test_help_is_quick_to_import_and_teaches() -> None:
    code = "import sys; sys.argv=['run.py','--help']; import runpy; runpy.run_path('run.py', run_name='__main__')"
    code = f"import atexit, sys; atexit.register(lambda: print(sorted(sys.modules), file=sys.stderr)); {code}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"'torch'", "'hydra'", "'omegaconf'"} & set(done.stderr.strip("[]\n").split(", "))
    for word in ("scrub", "saliency", "cifar100", "retrained=false", "scenario.classes", "--explain"):
        assert word in done.stdout


@pytest.mark.slow
def test_two_sweeps_at_once_do_not_collide(tmp_path: Path) -> None:
    words = [*FAST, f"paths.root={tmp_path}", "tracking=sqlite"]
    both = [start("-m", *words, f"scenario.count=5,7,{extra}") for extra in (9, 11)]
    for process in both:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, out + err
        assert all(line.startswith("waiting for ") for line in err.splitlines())
    assert len([folder for folder in runs(tmp_path) if "DONE" in names(folder)]) == 4
    assert len(list((tmp_path / "store" / "models").glob("*.safetensors"))) == 5  # one original, four retrained
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("unlearning").experiment_id
    found = client.search_runs([experiment])
    children = [run for run in found if "mlflow.parentRunId" in run.data.tags]
    assert len(children) == 4
    assert len(found) - len(children) == 2  # a parent for each sweep


@pytest.mark.slow
def test_a_killed_process_leaves_nothing_that_stops_the_next(command: Command, tmp_path: Path) -> None:
    words = [*FAST, f"paths.root={tmp_path}", f"paths.store={tmp_path}/store"]
    process = start(*words)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "store").glob("models/.*.lock")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    (folder,) = runs(tmp_path)
    assert names(folder) == {"log.txt", "provenance.json"}
    assert not list((tmp_path / "store").rglob("*.safetensors"))
    done = command(*words)
    assert (done.code, done.err, done.folder) == (0, "", folder)


@pytest.mark.slow
def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    words = ["run.py", *TRIAL, f"paths.root={tmp_path}"]
    code = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); "
    code += f"sys.argv={words!r}; runpy.run_path('run.py', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: no space left while writing {tmp_path}/store/models/")
    assert line.endswith("paths.store=DIR")
    assert {path.suffix for path in (tmp_path / "store").rglob("*") if path.is_file()} == {".lock"}
