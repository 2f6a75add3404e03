"""The records of a run: complete or absent."""

import hashlib
import json
import logging
import re
import shutil
import subprocess
import time
import warnings
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from unlearning import pipeline
from unlearning.config.compose import composed
from unlearning.engine.evaluation import Result
from unlearning.engine.job import Job
from unlearning.errors import UserError
from unlearning.records import card as cards
from unlearning.records import folder as records
from unlearning.records import provenance, summary_figure
from unlearning.records.log import writing
from unlearning.records.summary_figure import summary_figure as drawing
from unlearning.records.tracked import TrackedRun, TrackedSweep
from unlearning.request import Request

WORDS = ["method=original", "retrained=false", "pretrain.epochs=1", "dataset=wine", "tracking=none"]
ROW = {
    "table": "table/a|b.yaml, row 1",
    "why": "A paper.",
    "when": {"dataset": ["wine", "csv"]},
    "set": {"m": {"x": 1}},
}
FILES = {
    *("DONE", "MODEL_CARD.md", "curves.json", "log.txt", "predictions.safetensors", "provenance.json"),
    *("references-.safetensors", "results.json", "split.safetensors", "unlearned.safetensors"),
}


class Notebook:
    """A tracker that remembers what it was told, or that cannot be reached."""

    def __init__(self, reachable: bool = True) -> None:
        self.runs: list[TrackedRun] = []
        self.reachable = reachable

    def check(self) -> None:
        pass

    def log_run(self, run: TrackedRun) -> str:
        if not self.reachable:
            raise UserError("nobody answers", key="tracking.uri", kind="storage")
        self.runs.append(run)
        return str(len(self.runs))

    def end_sweep(self, sweep: TrackedSweep) -> None:
        pass


def asked(places: list[str], *overrides: str, sweep: str | None = None) -> Request:
    words = [*WORDS, *overrides]
    return Request(*composed(*words, *places), overrides=words, sweep=sweep, rows=[ROW])


def names(folder: Path) -> set[str]:
    """The names of the files in a folder, without digests."""
    return {re.sub("-[0-9a-f]{16}", "-", file.name) for file in folder.iterdir()}


def read(folder: Path, name: str = "provenance.json") -> dict:
    return json.loads((folder / name).read_text())


@pytest.fixture(scope="module")
def own_places(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> list[str]:
    root = tmp_path_factory.mktemp("records")
    return [f"paths.root={root}", f"paths.store={shared}/store"]


@pytest.fixture(scope="module")
def found(own_places: list[str]) -> tuple[Request, Result]:
    """A request and its result, for tests that record it again."""
    request = asked(own_places)
    job = Job.of(request.config)
    return request, pipeline.results(job, job.checked().access)


@pytest.fixture
def run(found: tuple[Request, Result], tmp_path: Path) -> tuple[Request, Result]:
    """The same for a folder of its own."""
    request, result = found
    paths = dict(request.config["paths"], runs=str(tmp_path / "multirun"))
    return Request(request.config | {"paths": paths}, request.choices, request.overrides, "sweep", [ROW]), result


def record(request: Request, result: Result, tracker: Notebook) -> None:
    records.clear(request)
    with writing(request.folder):
        records.finish(request, result, tracker, 1000.0)


# --- a finished run


def test_a_finished_run_holds_its_settings_with_their_reasons(run: tuple[Request, Result]) -> None:
    request, result = run
    record(request, result, notebook := Notebook())
    assert names(request.folder) == FILES
    results, origin = read(request.folder, "results.json"), read(request.folder)
    assert results["settings"] == [ROW]
    assert results["threads"] == request.config["trainer"]["threads"]
    assert len(results["notes"]) == 1  # that the method original changes nothing
    assert {name: results[name] for name in origin.keys() - {"key", "differs"}} == {
        name: value for name, value in origin.items() if name not in ("key", "differs")
    }
    assert origin["key"] == request.key.parts
    assert origin["differs"] is None
    assert abs((started := datetime.fromisoformat(origin["started"]).timestamp()) - time.time()) < 60
    (logged,) = notebook.runs
    assert (logged.status, logged.sweep, logged.started) == ("FINISHED", "sweep", started)
    assert logged.params["pretrain.epochs"] == 1
    assert logged.params["method"] == "original"
    assert not {name for name in logged.params if name.startswith(("tracking.", "evaluation.", "paths."))}
    assert {"log.txt", "results.json"} <= {path.name for path in logged.artifacts}


def test_the_card_tells_which_row_set_what_and_why(run: tuple[Request, Result]) -> None:
    request, result = run
    record(request, result, Notebook())
    card = (request.folder / "MODEL_CARD.md").read_text()
    assert "| table/a\\|b.yaml, row 1 | m.x=1 | dataset=[wine,csv] | A paper. |" in card
    (note,) = read(request.folder, "results.json")["notes"]
    assert f"* Note: {note}\n" in card
    assert result.data["split"] in card
    (access,) = [line for line in card.splitlines() if line.startswith("* Data access of the method: ")]
    assert "set" not in access  # the method original looks at no data


def test_the_card_shows_classes_by_their_names() -> None:
    name = "class_acc/<b>$x_1$ *y*|z"
    lines = cards.metrics({"rows": {"unlearned": {name: 0.5}}, "gaps": {}, "failed": {f"unlearned: {name}": "<i>no"}})
    shown = MarkdownIt("commonmark", {"html": True}).enable("table").parse("\n".join(lines))
    texts = [part.content for block in shown if block.children for part in block.children if part.type == "text"]
    assert {name, f"unlearned: {name}", "failed: <i>no"} <= {*texts}
    assert "html_inline" not in {part.type for block in shown if block.children for part in block.children}


def test_runs_share_the_file_of_their_references_and_each_of_them_keeps_it(run: tuple[Request, Result]) -> None:
    request, result = run
    more = [Request(request.config | {"seed": seed}, request.choices) for seed in (1, 2, 3)]
    files = []
    for one in more:
        record(one, result, Notebook())
        files += one.folder.glob("references-*")
        if one is more[1]:
            assert files[0].samefile(files[1])
            files[0].write_bytes(b"other content of the same name")  # of both
    assert not files[2].samefile(files[1])
    whole = files[2].read_bytes()
    record(request, result, Notebook())
    shutil.rmtree(more[2].folder)
    (file,) = request.folder.glob("references-*")
    assert file.read_bytes() == whole
    assert read(request.folder, "results.json")["files"][file.name] == hashlib.sha256(whole).hexdigest()
    assert read(request.folder, "results.json")["files"].keys() == {
        path.name for path in request.folder.iterdir() if path.name not in ("DONE", "log.txt", "results.json")
    }


def test_results_are_whole_where_the_tracker_cannot_be_reached_and_are_logged_later(
    run: tuple[Request, Result],
) -> None:
    request, result = run
    elsewhere = {"uri": "http://host", "experiment": "e"}
    request = Request(request.config | {"tracking": elsewhere}, request.choices, request.overrides, None, [ROW])
    with pytest.raises(UserError):
        record(request, result, Notebook(reachable=False))
    assert names(request.folder) == FILES | {"summary.png"}
    assert records.is_finished(request)
    assert not records.is_tracked(request)
    records.catch_up(request, notebook := Notebook())
    records.catch_up(request, notebook)  # the second time there is nothing to do
    (logged,) = notebook.runs
    assert logged.metrics["forget/acc"] == result.rows["unlearned"]["forget/acc"]
    assert logged.started == datetime.fromisoformat(read(request.folder)["started"]).timestamp()
    assert records.is_tracked(request)
    other = request.config | {"tracking": {"uri": "http://other", "experiment": "e"}}
    assert not records.is_tracked(Request(other, request.choices, request.overrides))


def test_what_cannot_be_read_is_made_again(run: tuple[Request, Result], caplog: pytest.LogCaptureFixture) -> None:
    request, result = run
    record(request, result, Notebook())
    own = json.dumps({"run_key": request.key.digest})
    other = json.dumps({"run_key": request.key.digest[:12] + 52 * "0"})  # a key that gives the same name
    contents = {own: True, "{}": False, "[]": False, own[:-1]: False, other: False}
    for content, finished in contents.items():
        (request.folder / "results.json").write_text(content)
        with ExitStack() as held:
            assert records.begin(request, held) == finished
    told = [r.levelname for r in caplog.records if r.name == records.log.name]
    assert [level for level in told if level != "INFO"] == ["WARNING"] * 4
    forced = Request(request.config | {"force": True}, request.choices)
    (request.folder / "results.json").write_text(own)
    with ExitStack() as held:
        assert not records.begin(forced, held)


def test_a_job_leaves_its_summary_out_and_it_is_drawn_later_as_it_would_have_been(
    run: tuple[Request, Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary_figure, "summary_figure", drawing)  # the one that draws
    job, result = run
    own, file = replace(job, sweep=None), job.folder / "summary.png"
    record(job, result, Notebook())
    records.draw(job)
    assert not file.exists()
    records.draw(own)
    later = file.read_bytes()
    record(own, result, Notebook())
    assert file.read_bytes() == later
    assert records.is_finished(own)


def test_a_failed_run_keeps_provenance_and_log_alone(run: tuple[Request, Result]) -> None:
    request, result = run
    record(request, result, Notebook())
    records.clear(request)
    assert names(request.folder) == {"provenance.json"}
    records.write(request.folder, "summary.png", b"half")
    with writing(request.folder):
        logging.getLogger("unlearning").info("unlearning")
    records.fail(request, UserError("the loss is not finite"), notebook := Notebook(), 1000.0)
    assert names(request.folder) == {"FAILED", "log.txt", "provenance.json"}
    assert (request.folder / "FAILED").read_text() == "the loss is not finite\n"
    (logged,) = notebook.runs
    assert (logged.status, logged.tags["reason"]) == ("FAILED", "the loss is not finite")
    records.fail(request, KeyboardInterrupt(), notebook, 1000.0)
    assert len(notebook.runs) == 1
    assert names(request.folder) == {"log.txt", "provenance.json"}


# --- why a run was made although a similar one is there


def test_a_run_names_the_parts_in_which_it_differs_from_the_nearest_of_its_name(places: list[str]) -> None:
    first, far, near = (
        asked(places, f"pretrain.epochs={n}", *more) for n, more in ((1, []), (2, ["split.test=.3"]), (3, []))
    )
    for request in (first, far):
        records.clear(request)
    records.clear(near)
    assert read(near.folder)["differs"] is None  # neither of the others is finished
    for request in (first, far):
        (request.folder / "DONE").touch()
    records.clear(near)
    assert read(near.folder)["differs"] == {"from": first.folder.name, "parts": ["setting: pretrain.epochs"]}
    with writing(near.folder):
        pass
    line = f"differs from {first.folder.name} in setting: pretrain.epochs"
    assert line in (near.folder / "log.txt").read_text()
    other = asked(places, "pretrain.epochs=3", "seed=1")  # another name
    records.clear(other)
    assert read(other.folder)["differs"] is None


def test_code_and_libraries_are_named(places: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    request = asked(places)
    records.clear(request)
    parts = json.loads(json.dumps(request.key.parts))
    parts["code"]["methods/base.py"] = "other"
    parts["library"]["torch"] = "1.0"
    earlier = request.folder.with_name(request.folder.name.rpartition("-")[0] + "-" + "0" * 12)
    earlier.mkdir()
    (earlier / "provenance.json").write_text(json.dumps({"key": parts}))
    (earlier / "DONE").touch()
    records.clear(request)
    torch = request.key.parts["library"]["torch"]
    assert read(request.folder)["differs"]["parts"] == ["code: methods/base.py", f"library: torch {torch}"]


def test_the_commit_of_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "unlearning")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.git_revision() is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    (tmp_path / "file").write_text("one")
    for words in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], check=True)
    assert re.fullmatch(r"[0-9a-f]{40}", provenance.git_revision() or "")
    (tmp_path / "file").write_text("two")
    assert (provenance.git_revision() or "").endswith("+changes")
    monkeypatch.setattr(provenance, "CONF", tmp_path / "unlearning" / "conf")  # installed
    assert provenance.git_revision() is None


# --- the log


def speak() -> None:
    logging.getLogger("unlearning.engine.lab").info("trained in %.1f s", 1.25)
    logging.getLogger("unlearning").warning("this matters")
    logging.getLogger("somebody").warning("a library's record")
    warnings.warn_explicit("few workers", UserWarning, "loader.py", 3, module="lightning.pytorch.loader")


@pytest.mark.parametrize("verbose", [False, True])
def test_the_log_holds_all_and_the_screen_what_matters(
    tmp_path: Path, capsys: pytest.CaptureFixture, verbose: bool
) -> None:
    with writing(tmp_path, verbose):
        speak()
    text = (tmp_path / "log.txt").read_text()
    said = ["INFO trained in 1.2 s", "WARNING this matters", "WARNING a library's record"]
    said += ["WARNING loader.py:3: UserWarning: few workers", "INFO finished after 0.0 s"]
    lines = text.splitlines()
    assert [line.partition(" ")[2] for line in lines] == said
    assert all(datetime.fromisoformat(line.partition(" ")[0]).tzinfo for line in lines)
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (text if verbose else "this matters\n")
    assert logging.getLogger("unlearning").getEffectiveLevel() == logging.WARNING  # all is as it was before
    speak()
    assert (tmp_path / "log.txt").read_text() == text
    assert capsys.readouterr().err == "this matters\n"


def test_the_log_is_written_line_by_line_and_tells_how_a_run_failed(tmp_path: Path) -> None:

    def divide() -> None:
        logging.getLogger("unlearning").info("one line")
        assert "one line" in (tmp_path / "log.txt").read_text()
        _ = 1 / 0

    with pytest.raises(ZeroDivisionError), writing(tmp_path):
        divide()
    text = (tmp_path / "log.txt").read_text()
    assert "INFO failed after 0.0 s: division by zero\nTraceback" in text
    with pytest.raises(UserError), writing(tmp_path):
        raise UserError("alpha must be positive")
    text = (tmp_path / "log.txt").read_text().removeprefix(text)  # lines are appended
    assert text.endswith("INFO failed after 0.0 s: alpha must be positive\n")
    assert "Traceback" not in text


def test_a_log_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "log.txt").mkdir()
    with pytest.raises(UserError) as caught, writing(tmp_path):
        pass
    assert caught.value.kind == "storage"


def test_the_pipeline_writes_the_log_of_a_run(places: list[str]) -> None:
    request = asked(places)
    folder = pipeline.run(request)
    first, *_, last = (folder / "log.txt").read_text().splitlines()
    assert first.endswith(f"INFO {request.command}")
    assert "INFO finished after" in last
    broken = asked(places, "method=gradient_ascent", "method.optimizer.lr=1e30", "method.keep=null")
    with pytest.raises(UserError):
        pipeline.run(broken)
    assert names(broken.folder) == {"FAILED", "log.txt", "provenance.json"}
    assert (broken.folder / "FAILED").read_text().strip() in (broken.folder / "log.txt").read_text()
