"""Finished runs that a tracker lacks are logged, each once."""

import json
from pathlib import Path

import pytest

from tests.finished import result, write_finished
from unlearning.records.push import main


def runs(root: Path, count: int) -> Path:
    """A folder of finished runs with all that a tracker takes."""
    root.mkdir()
    facts = {"config": {"trial": None}, "command": "c", "git": None, "cost": {"cost/seconds": 2.0}}
    write_finished(root, *(result(seed=n, run_key=f"key{n}", **facts) for n in range(count)))
    for folder in root.iterdir():
        (folder / "provenance.json").write_text(json.dumps({"started": "2026-01-01T00:00:00+00:00"}))
        (folder / "curves.json").write_text(json.dumps({"unlearn/loss": [[0, 1.5], [1, 0.5]]}))
    return root


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    return ["push", f"paths.root={tmp_path}", f"paths.runs={runs(tmp_path / 'runs', 3)}", "tracking=csv"]


def logged(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "csv").rglob("metrics.csv"))


def test_each_run_is_logged_once(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert capsys.readouterr().out == "logged 3 of 3 finished runs; 0 were there before\n"
    assert len(logged(tmp_path)) == 3
    assert main(words) == 0
    assert capsys.readouterr().out == "logged 0 of 3 finished runs; 3 were there before\n"
    assert len(logged(tmp_path)) == 3
    assert "unlearn/loss" in logged(tmp_path)[0].read_text()


def test_a_run_that_is_not_finished_is_left(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "runs" / "run1" / "DONE").unlink()
    assert main(words) == 0
    assert len(logged(tmp_path)) == 2


def test_a_damaged_run_is_named_and_the_others_are_logged(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs" / "run0" / "results.json").write_text("{}")
    assert main(words) == 1
    out, err = capsys.readouterr()
    assert out == "logged 2 of 3 finished runs; 0 were there before\n"
    assert "run0" in err
    assert len(logged(tmp_path)) == 2


@pytest.mark.parametrize(
    ("more", "key"),
    [(["tracking=none"], "tracking=none"), (["paths.runs=/nowhere"], "paths.runs"), (["bogus=1"], "bogus")],
)
def test_what_cannot_be_done_is_one_line(
    words: list[str], more: list[str], key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, *more]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("records: ")
    assert key in line


def test_other_words_are_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pull"]) == 2
    assert "push" in capsys.readouterr().err
