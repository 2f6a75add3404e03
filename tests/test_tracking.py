"""Tracking against real MLflow databases, written by real processes."""

import multiprocessing
import os
import shutil
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from omegaconf import OmegaConf

from tests.tracked import tracked_run
from unlearning.config.build import Spec
from unlearning.config.paths import CONF
from unlearning.errors import UserError
from unlearning.records import sqlite_database
from unlearning.records.tracked import Status, TrackedSweep
from unlearning.records.tracking import Tracker, Tracking

# forked, so that the children start at the same moment with mlflow already imported: the hardest case for a database
CONTEXT = multiprocessing.get_context("fork")


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A project without a database, at a path as people have them."""
    return tmp_path / "my project #1"


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("empty")
    sqlite_database.ensure(root / "mlflow.db")
    return root / "mlflow.db"


@pytest.fixture
def root(fresh: Path, empty: Path) -> Path:
    """A project with a database that holds no run: creating one takes a second."""
    fresh.mkdir()
    shutil.copy(empty, fresh)
    return fresh


def tracker(root: Path) -> Tracking:
    return Tracking(f"sqlite:///{root}/mlflow.db", "unlearning", f"{root}/mlruns")


def log(tracking: Tracker, **changes: Any) -> str:
    return tracking.log_run(tracked_run(**changes))


def runs(root: Path) -> list[Run]:
    client = MlflowClient(f"sqlite:///{root}/mlflow.db")
    return client.search_runs([client.get_experiment_by_name("unlearning").experiment_id])


def client(root: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{root}/mlflow.db")


def test_a_run_is_logged_whole_and_quietly(fresh: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "a.svg").write_text("<svg/>")
    (tmp_path / "results.json").write_text("{}")
    (tmp_path / "unlearned.safetensors").write_text("weights, of which a second copy is made where it is asked for")
    points = [(epoch, 1.0 / (epoch + 1)) for epoch in range(3)]
    started = time.time() - 60
    made = log(
        tracker(fresh),
        curves={"unlearn/forget_loss": points},
        artifacts=(files := [tmp_path / "results.json", tmp_path / "figures", tmp_path / "unlearned.safetensors"]),
        started=started,
    )
    assert capfd.readouterr() == ("", "")
    run = client(fresh).get_run(made)
    assert run.info.run_name == "scrub"
    assert run.info.status == "FINISHED"
    assert run.info.start_time == int(started * 1000)
    assert 60_000 <= run.info.end_time - run.info.start_time < 62_000  # without the time that logging takes
    assert run.data.params == {"lr": "0.001", "method": "scrub"}
    assert run.data.tags == {"run_key": "abc", "mlflow.runName": "scrub"}
    assert run.data.metrics == {"forget/acc": 0.25, "mia/loss_auc": 0.5, "unlearn/forget_loss": points[-1][1]}
    history = client(fresh).get_metric_history
    assert [(m.step, m.value) for m in history(made, "forget/acc")] == [(0, 0.25)]
    assert [(m.step, m.value) for m in history(made, "unlearn/forget_loss")] == points
    (split,) = run.inputs.dataset_inputs
    assert (split.dataset.name, split.dataset.digest) == ("split", "d" * 36)
    assert run.info.artifact_uri == f"{fresh}/mlruns/unlearning/{made}/artifacts"
    assert Path(run.info.artifact_uri, "figures", "a.svg").read_text() == "<svg/>"
    assert sorted(artifact.path for artifact in client(fresh).list_artifacts(made)) == ["figures", "results.json"]
    copying = Tracking(f"sqlite:///{fresh}/mlflow.db", "unlearning", None, weights=True)
    assert len(client(fresh).list_artifacts(log(copying, artifacts=files))) == 3


def test_the_same_run_again_is_a_new_run_and_a_failed_one_is_failed(root: Path) -> None:
    first = log(tracker(root), started=5.0)
    second = log(tracker(root), status="FAILED", metrics={"unlearn/loss": float("nan")})
    assert log(tracker(root), started=5.0) == first  # a process that was killed had logged it
    assert {run.info.run_id: run.info.status for run in runs(root)} == {first: "FINISHED", second: "FAILED"}
    value = client(root).get_run(second).data.metrics["unlearn/loss"]
    assert value != value  # NaN


def test_names_become_permitted_and_stay_apart(root: Path) -> None:
    names = ["class_acc/a b", "class_acc/C+", "class_acc/C#", "class_acc//x/../y/", "/", "ü.-:", "n" * 300]
    metrics = {name: float(number) for number, name in enumerate(names)}
    made = log(tracker(root), metrics=metrics, params={"a@b": 1}, tags={"c\nd": "t"})
    data = client(root).get_run(made).data
    assert data.metrics.pop("n" * 240) == 6
    assert data.metrics == {
        "class_acc/a b": 0,
        "class_acc/C_": 1,
        "class_acc/C__": 2,
        "class_acc/x/y": 3,
        "_": 4,
        "ü.-_": 5,
    }
    assert data.params == {"a_b": "1"}
    assert data.tags["c_d"] == "t"


def test_more_than_a_request_holds(root: Path) -> None:
    curve = [(step, float(step)) for step in range(2100)]
    made = log(
        tracker(root),
        params={f"p{n}": "x" * 7000 for n in range(150)},
        tags={f"t{n}": "x" * 9000 for n in range(150)},
        curves={"unlearn/loss": curve},
    )
    data = client(root).get_run(made).data
    assert {len(value) for value in data.params.values()} == {6000}
    assert len(data.params) == 150
    assert sum(len(value) == 8000 for value in data.tags.values()) == 150
    assert [(m.step, m.value) for m in client(root).get_metric_history(made, "unlearn/loss")] == curve


def start(act: Callable, *arguments: object) -> multiprocessing.Process:
    process = CONTEXT.Process(target=act, args=arguments)
    process.start()
    return process


def log_two(root: Path, me: int, barrier: Any) -> None:
    barrier.wait()
    for number in range(2):
        log(tracker(root), name=f"{me}-{number}", sweep='it\'s a "sweep"', started=1000.0 + me)


@pytest.mark.slow
def test_processes_that_start_together_on_a_fresh_database_share_one_parent(fresh: Path) -> None:
    barrier = CONTEXT.Barrier(4)
    processes = [start(log_two, fresh, me, barrier) for me in range(4)]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    (parent,) = [run for run in runs(fresh) if "mlflow.parentRunId" not in run.data.tags]
    assert parent.info.run_name == 'it\'s a "sweep"'
    children = [run for run in runs(fresh) if run.info.run_id != parent.info.run_id]
    assert sorted(run.info.run_name for run in children) == [f"{me}-{n}" for me in range(4) for n in range(2)]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {run.info.status for run in runs(fresh)} == {"FINISHED"}
    assert parent.info.end_time in {run.info.end_time for run in children}
    assert all(run.data.metrics == {"forget/acc": 0.25, "mia/loss_auc": 0.5} for run in children)
    log(tracker(fresh), sweep="another")
    assert sum("mlflow.parentRunId" not in run.data.tags for run in runs(fresh)) == 2


def parent_status(root: Path, sweep: str) -> str:
    (parent,) = [run for run in runs(root) if run.info.run_name == sweep]
    return parent.info.status


def test_a_sweep_has_failed_if_one_of_its_jobs_has_whatever_its_last_one_does(root: Path) -> None:
    for status, expected in (("FINISHED", "FINISHED"), ("FAILED", "FAILED"), ("FINISHED", "FAILED")):
        log(tracker(root), sweep="bad", status=status)
        log(tracker(root), sweep="good")
        assert (parent_status(root, "bad"), parent_status(root, "good")) == (expected, "FINISHED")


def test_a_sweep_has_failed_if_a_job_could_not_be_logged_whole(root: Path) -> None:
    failure(tracker(root), sweep="bad", artifacts=[root / "nowhere.json"])
    assert parent_status(root, "bad") == "FAILED"


def test_a_sweep_has_failed_if_a_job_failed_before_it_could_be_logged(root: Path) -> None:
    log(tracker(root), sweep="bad")
    log(tracker(root), sweep="good")
    tracker(root).end_sweep(ended("bad", "FAILED"))
    assert (parent_status(root, "method=bad"), parent_status(root, "good")) == ("FAILED", "FINISHED")
    tracker(root).end_sweep(ended("that logged no run", "FAILED"))
    assert len(runs(root)) == 4


def ended(name: str, status: Status, **changes: Any) -> TrackedSweep:
    sweep: dict[str, Any] = {"runs": {}, "varied": {}, "best": None, "means": []}
    return TrackedSweep(name, f"python run.py -m method={name}", status, **(sweep | changes))


def test_a_sweep_links_the_runs_that_it_found_and_names_its_command_and_its_best(root: Path) -> None:
    found, made = log(tracker(root), name="found"), log(tracker(root), name="made", sweep="s")
    metrics = {"n": 2.0, "sd/forget/acc": 0.1}
    mean = tracked_run(name="mean", metrics=metrics, sweep="s", parts={found: "a"})
    sweep = ended("s", "FINISHED", runs={found: "a", made: "b"}, varied={"seed": "0, 1"}, best=made, means=[mean])
    tracker(root).end_sweep(sweep)
    by_name = {run.info.run_name: run for run in runs(root)}
    parent = by_name.pop("method=s")
    assert parent.data.params == {"seed": "0, 1"}
    assert (parent.data.tags["command"], parent.data.tags["best_by_validation"]) == ("python run.py -m method=s", made)
    description = parent.data.tags["mlflow.note.content"]
    assert all(f"[{name}](#/experiments/1/runs/{run})" in description for run, name in sweep.runs.items())
    children = {name for name, run in by_name.items() if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id}
    assert children == {"made", "mean"}
    assert by_name["mean"].data.metrics == metrics
    assert by_name["mean"].data.tags["mlflow.note.content"] == f"* [a](#/experiments/1/runs/{found})"
    assert "mlflow.note.content" not in by_name["made"].data.tags


@pytest.mark.slow
def test_a_process_killed_as_it_creates_the_database_does_no_harm(fresh: Path) -> None:
    process = start(log, tracker(fresh))
    deadline = time.monotonic() + 60
    while not (fresh / ".mlflow.db.new").exists():
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)  # in the middle of MLflow's migrations, which take most of a second
    process.join()
    assert not (fresh / "mlflow.db").exists()
    log(tracker(fresh))
    assert len(runs(fresh)) == 1
    assert sorted(path.name for path in fresh.iterdir()) == [".mlflow.db.lock", "mlflow.db"]


def failure(tracking: Tracking, **changes: object) -> str:
    """The message of the failure, which must come soon and in one line."""
    began = time.monotonic()
    with pytest.raises(UserError) as caught:
        log(tracking, **changes)
    assert time.monotonic() - began < 10
    assert (caught.value.key, caught.value.kind) == ("tracking.uri", "storage")
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_file_that_is_no_database(fresh: Path) -> None:
    fresh.mkdir()
    (fresh / "mlflow.db").write_bytes(b"garbage" * 1000)
    assert failure(tracker(fresh)) == (
        f"MLflow at sqlite:///{fresh}/mlflow.db failed (file is not a database); "
        "the results on disk are kept: check tracking.uri or use tracking=none"
    )


def test_a_damaged_database(root: Path) -> None:
    log(tracker(root))
    data = bytearray((root / "mlflow.db").read_bytes())
    data[4096:] = bytes(len(data) - 4096)  # all pages but the first
    (root / "mlflow.db").write_bytes(data)
    assert "malformed" in failure(tracker(root))


def test_a_database_that_another_program_holds(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log(tracker(root))
    monkeypatch.setattr(sqlite_database, "PATIENCE", 0.1)
    with sqlite3.connect(root / "mlflow.db") as holder:
        holder.execute("BEGIN EXCLUSIVE")
        assert "database is locked" in failure(tracker(root))
        holder.rollback()
    holder.close()
    log(tracker(root))
    assert len(runs(root)) == 2


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "file" in failure(tracker(tmp_path / "file"))


def test_an_unreachable_server_without_showing_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as unused:  # bound, but nobody listens
        unused.bind(("127.0.0.1", 0))
        uri = f"http://me:secret@127.0.0.1:{unused.getsockname()[1]}"
        message = failure(Tracking(uri, "unlearning", None))
    assert message.startswith("MLflow at http://***@127.0.0.1:")
    assert "secret" not in message
    assert "refused" in message


def test_a_run_that_could_not_be_logged_whole_is_failed(root: Path) -> None:
    assert "nowhere.json" in failure(tracker(root), artifacts=[root / "nowhere.json"])
    (run,) = runs(root)
    assert run.info.status == "FAILED"


def refusal(tracking: Tracking) -> str:
    with pytest.raises(UserError) as caught:
        tracking.check()
    assert (caught.value.key, caught.value.kind) == ("tracking.uri", "storage")
    return str(caught.value)


def test_what_cannot_work_is_noticed_at_the_start(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    assert f"{tmp_path / 'file'} is not a folder" in refusal(tracker(tmp_path / "file"))
    assert "is no regular file" in refusal(Tracking(f"sqlite:///{tmp_path}", "unlearning", None))  # a folder
    (tmp_path / "mlflow.db").write_bytes(b"garbage" * 1000)
    assert "file is not a database" in refusal(tracker(tmp_path))
    monkeypatch.setattr(sqlite_database, "PATIENCE", 0.1)
    with closing(sqlite3.connect(root / "mlflow.db")) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        assert "database is locked" in refusal(tracker(root))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        message = refusal(Tracking(f"http://me:secret@127.0.0.1:{unused.getsockname()[1]}", "unlearning", None))
    assert "refused" in message
    assert "secret" not in message


def test_the_look_at_the_start_creates_nothing(fresh: Path, root: Path) -> None:
    tracker(fresh / "a" / "b").check()
    assert not (fresh / "a").exists()
    before = (root / "mlflow.db").read_bytes()
    tracker(root).check()
    assert (root / "mlflow.db").read_bytes() == before
    assert [path.name for path in root.iterdir()] == ["mlflow.db"]


@pytest.mark.parametrize("status", [200, 401, 404])
def test_a_server_that_answers_will_do(status: int) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        asked = threading.Thread(target=server.handle_request)
        asked.start()
        Tracking(f"http://me:secret@127.0.0.1:{server.server_port}", "unlearning", None).check()
        asked.join()


@pytest.mark.parametrize(
    "uri", ["sqlite:///mlflow.db", "sqlite:///:memory:", "sqlite://", "./mlruns", "file:///x", "foo://x"]
)
def test_a_uri_that_cannot_work(uri: str) -> None:
    with pytest.raises(UserError) as caught:
        Tracking(uri, "unlearning", None)
    assert (caught.value.key, caught.value.kind) == ("tracking.uri", "value")
    assert str(caught.value).startswith(f"tracking.uri={uri} is neither an absolute database path nor the URI")


def test_an_experiment_has_a_name() -> None:
    with pytest.raises(UserError) as caught:
        Tracking("http://host:5000", " ", None)
    assert caught.value.key == "tracking.experiment"


def configured(name: str) -> Any:
    node = OmegaConf.load(CONF / "tracking" / f"{name}.yaml")
    config = OmegaConf.create({"paths": {"root": "/project"}, "tracking": node})
    return Spec("tracking", OmegaConf.to_container(config.tracking, resolve=True)).build()


def test_the_configurations(monkeypatch: pytest.MonkeyPatch) -> None:
    local = configured("sqlite")
    assert (local.uri, local.experiment, local.artifacts) == (
        "sqlite:////project/mlflow.db",
        "unlearning",
        None,  # beside the database
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    assert (configured("server").uri, configured("server").artifacts) == ("http://host:5000", None)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(UserError) as caught:
        configured("server")
    assert (caught.value.key, caught.value.kind) == ("tracking.uri", "missing")
    assert log(configured("none")) == ""
    configured("none").end_sweep(ended("sweep", "FAILED"))
