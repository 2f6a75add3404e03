"""Sweeps from the command line: their jobs, their failures, and what is shown at the end."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import FAST, Done, runs
from unlearning import sweeps
from unlearning.errors import UserError
from unlearning.pipeline import run
from unlearning.sweeps import for_each_job

Command = Callable[..., Done]


def finished(root: Path) -> list[Path]:
    """The folders of the runs that are done."""
    return [folder for folder in runs(root) if (folder / "DONE").exists()]


def test_a_sweep_goes_on_past_a_failure_and_lists_it(command: Command, tmp_path: Path) -> None:
    done = command("-m", *FAST, "scenario.count=5,1000,7")
    assert (done.code, done.err) == (1, "")
    *_, count, failed = done.out.splitlines()
    assert count == "1 of 3 runs failed:"
    job, _, reason = failed.strip().partition("scenario.count=1000: ")
    assert reason.startswith("scenario.count=1000 cannot be drawn")
    assert f"2. {job}scenario.count=1000: FAILED: {reason}\n" in done.out  # said when it happened
    stamps = [(folder / "results.json").stat().st_mtime_ns for folder in finished(tmp_path)]
    assert len(stamps) == 2
    again = command("-m", *FAST, "scenario.count=5,7")
    assert again.code == 0
    assert stamps == [(folder / "results.json").stat().st_mtime_ns for folder in finished(tmp_path)]


@pytest.mark.slow
def test_a_mistake_of_the_program_is_shown_whole_and_the_sweep_goes_on(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_once(request: Any) -> Path:
        if request.config["seed"] == 0:
            raise RuntimeError("out of\nluck")
        return run(request)

    monkeypatch.setattr("unlearning.pipeline.run", fail_once)
    done = command("-m", *FAST, "seed=0,1")
    assert done.code == 1
    assert done.err.startswith("Traceback")
    assert done.out.splitlines()[-1].endswith("seed=0: RuntimeError: out of luck")
    assert len(finished(tmp_path)) == 1


def test_an_interrupt_ends_the_whole_sweep(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def interrupted(request: Any) -> Path:
        asked.append(request)
        raise KeyboardInterrupt

    monkeypatch.setattr("unlearning.pipeline.run", interrupted)
    done = command("-m", *FAST, "seed=0,1")
    assert (done.code, len(asked)) == (130, 1)
    assert done.err == "interrupted; the same command goes on\n"


@pytest.mark.parametrize(
    ("words", "job", "key", "kind"),
    [
        (["method=finetune,ssd", "method.epochs=1"], "method=ssd method.epochs=1", "method.epochs", "key"),
        (["seed=1,abc"], "seed=abc", "seed", "value"),
        (["method=null,finetune"], "method=null", "method", "choice"),
    ],
)
def test_the_first_job_that_does_not_compose_is_named(
    words: list[str], job: str, key: str, kind: str, refused: Callable[..., UserError], tmp_path: Path
) -> None:
    error = refused("-m", "tracking=none", *words)
    assert (error.key, error.kind) == (key, kind)
    assert str(error).startswith("no run was started, because of ")
    assert f"tracking=none {job}: " in str(error)
    assert not runs(tmp_path)


def test_a_job_of_a_folder_of_the_users_composes(refused: Callable[..., UserError], tmp_path: Path) -> None:
    """The error is then not reported for that job."""
    (tmp_path / "own" / "method").mkdir(parents=True)
    (tmp_path / "own" / "method" / "mine.yaml").write_text("_target_: unlearning.methods.finetune.FineTune\n")
    error = refused("-m", "--config-dir", f"{tmp_path}/own", "tracking=none", "method=mine,bogus")
    assert "tracking=none method=bogus: " in str(error)


@pytest.mark.parametrize("words", [["method=glob(zz*)"], ["seed=range(0,0)", "hydra/launcher=list"]])
def test_a_sweep_without_jobs(words: list[str], refused: Callable[..., UserError]) -> None:
    assert str(refused("-m", *FAST, *words)).startswith("the sweep has no jobs")


# Settings beside a swept group


def test_a_setting_beside_a_swept_group_need_not_fit_the_groups_default(command: Command) -> None:
    listed = ["hydra/launcher=list", "scenario=poison,confusion", "scenario.known=0.3", "method.batch_norm=eval"]
    done = command("-m", "tracking=none", *listed)
    assert (done.code, done.err) == (0, "")
    jobs = [line.split()[-3:] for line in done.out.splitlines() if "scenario=" in line]
    settings = ["scenario.known=0.3", "method.batch_norm=eval"]
    assert jobs == [["scenario=poison", *settings], ["scenario=confusion", *settings]]


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("scenario.classes=[3,4]", "scenario.classes=choice([3,4])"),
        ("dataset.root='/a b'", "dataset.root=choice('/a b')"),
        ('scenario.where="age > 60"', 'scenario.where="age > 60","age > 60"'),  # which is one job
        *(
            (same, same)
            for same in (
                "seed=1",
                "scenario.known=0.3,0.5",
                "tracking.uri=http://h",
                "method.epochs=range(1,3)",
                "~method.lr",
            )
        ),
        *((same, same) for same in ("method=glob(*)", "pretrain.checkpoint=", "dataset.root=~/pets")),
        *((same, same) for same in ("pretrain.checkpoint=null", "foo")),
    ],
)
def test_which_settings_of_a_sweep_are_its_jobs_alone(setting: str, expected: str) -> None:
    assert for_each_job(setting) == expected


# Records


def test_a_sweep_whose_records_cannot_be_written(refused: Callable[..., UserError]) -> None:
    error = refused("-m", *FAST, "paths.runs=/dev/null/x")  # where Hydra makes a folder at the start
    assert (error.key, error.kind) == ("paths.runs", "storage")


def test_a_job_that_cannot_record_how_it_ended(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sweeps, "records_folder", lambda *_: Path("/dev/null/x"))
    done = command("-m", *FAST, "scenario.count=1000,1001")
    assert done.code == 1
    assert "Traceback" not in done.err
    assert done.err.splitlines()[-1].startswith("error: cannot write the sweep's records (")


@pytest.mark.slow
def test_a_sweep_with_a_failure_has_failed_in_mlflow_too(command: Command, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    fast = [*FAST[1:], "tracking=sqlite"]
    early = ["seed=1", f"pretrain.checkpoint=null,{tmp_path}/missing.pt"]  # fails before it could be logged
    assert [command("-m", *fast, *jobs).code for jobs in (["seed=0"], early, ["scenario.count=5,1000"])] == [0, 1, 1]
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("unlearning").experiment_id], order_by=["start_time"])
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    assert [run.info.status for run in parents] == ["FINISHED", "FAILED", "FAILED"]


def test_a_sweep_shares_its_reference_models(command: Command, tmp_path: Path) -> None:
    store = f"paths.store={tmp_path}/store"
    assert command("-m", "tracking=none", "debug=fast", "method=finetune,gradient_ascent", store).code == 0
    assert len(list((tmp_path / "store" / "models").glob("*.safetensors"))) == 2
    assert len(list((tmp_path / "store" / "unlearned").glob("*.safetensors"))) == 2
