"""What stands where the tracking database should be is never replaced, unless it is nothing; MLflow comes late."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.tracked import tracked_run
from unlearning.errors import UserError
from unlearning.records import sqlite_database
from unlearning.records.tracking import Tracking


def at(path: Path) -> Tracking:
    return Tracking(f"sqlite:///{path}", "x", None)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    try:
        os.mknod(path, 0o20666, os.makedev(1, 3))
    except (OSError, AttributeError):
        pytest.skip("devices are made by root alone")


def link_to_a_pipe(path: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


@pytest.mark.parametrize("make", [pipe, device, link_to_a_pipe, Path.mkdir], ids=lambda make: make.__name__)
def test_what_is_no_file_is_refused_and_stays(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(path := tmp_path / "there.db")
    before = path.lstat()
    for act in (lambda t: t.check(), lambda t: t.log_run(tracked_run())):
        with pytest.raises(UserError) as error:
            act(at(path))
        assert (error.value.key, error.value.kind) == ("tracking.uri", "storage")
    assert (path.lstat().st_ino, path.lstat().st_mode) == (before.st_ino, before.st_mode)


@pytest.mark.slow  # as it makes a database
def test_links_are_followed_and_stay(tmp_path: Path) -> None:
    (link := tmp_path / "link.db").symlink_to("below/real.db")
    at(link).check()
    made = at(link).log_run(tracked_run())
    assert link.is_symlink()
    real = tmp_path / "below" / "real.db"
    assert MlflowClient(f"sqlite:///{real}").get_run(made).info.status == "FINISHED"
    assert str(real.parent / "mlruns") in MlflowClient(f"sqlite:///{real}").get_run(made).info.artifact_uri
    (tmp_path / "loop.db").symlink_to("loop.db")
    with pytest.raises(UserError, match=r"loop\.db"):
        at(tmp_path / "loop.db")


def test_an_empty_file_of_another_user_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path := tmp_path / "empty.db").touch()
    at(path).check()
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(UserError, match="another user"):
        at(path).check()


@pytest.mark.slow
def test_files_that_begin_alike_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (kept := tmp_path / ".a.db.new-copy").write_text("mine")
    monkeypatch.setattr("mlflow.MlflowClient.search_experiments", lambda *_, **__: None)
    sqlite_database.create(tmp_path / "a.db")
    assert kept.read_text() == "mine"


@pytest.mark.slow
def test_a_run_that_a_killed_process_left_open_is_closed_by_the_next(tmp_path: Path) -> None:
    tracker = at(tmp_path / "a.db")
    first = tracker.log_run(tracked_run())
    client = MlflowClient(tracker.uri)
    (experiment,) = [e for e in client.search_experiments() if e.name == "x"]
    orphan = client.create_run(experiment.experiment_id, tags={"run_key": "abc"}).info.run_id
    other = client.create_run(experiment.experiment_id, tags={"run_key": "other"}).info.run_id
    second = tracker.log_run(tracked_run())
    states = [client.get_run(run).info.status for run in (first, orphan, other, second)]
    assert states == ["FINISHED", "KILLED", "RUNNING", "FINISHED"]


def test_mlflow_is_not_imported_before_a_run_is_logged() -> None:
    code = "import sys; from unlearning.records.tracking import Tracking; Tracking('http://h', 'e', None); "
    code += "sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
