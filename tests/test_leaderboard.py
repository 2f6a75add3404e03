"""The leaderboard over a real run, and over copies of it that claim other numbers."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import FAST, Done, command  # noqa: F401  a fixture
from tests.finished import result, write_finished
from unlearning.report.leaderboard import main


def claims(run: Path, name: str, method: str, gap: float) -> Path:
    """A copy of a run that claims to be of another method and to have another mean gap."""
    shutil.copytree(run, folder := run.parent / name)
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    found["config"]["choices"]["method"] = method
    found["gaps"]["gap/mean"] = gap
    (folder / "results.json").write_text(json.dumps(found))
    return folder


def test_runs_are_ranked_and_verified(
    command: Callable[..., Done],  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    done = command(*FAST)
    assert main([str(done.folder.parent)]) == 0
    gap, name = done.results["gaps"]["gap/mean"], done.folder.name
    claims(done.folder, "better", "jit", gap / 2)
    claims(done.folder, "control", "retrain", 0.0)
    shutil.copytree(done.folder, torn := done.folder.parent / "torn")
    (torn / "predictions.safetensors").unlink()
    results = json.loads((torn / "results.json").read_text())
    results["config"]["choices"]["method"] = "scrub"
    (torn / "results.json").write_text(json.dumps(results))
    capsys.readouterr()
    assert main([str(done.folder.parent), "--out", str(tmp_path / "board")]) == 1
    said = capsys.readouterr().out
    assert "better does not verify: 2 of" in said  # its card has the gap, too
    lines = list(csv.DictReader((tmp_path / "board" / "leaderboard.csv").open()))
    found = {line["method"]: (line["rank"], line["run"], line["verified"].partition(" ")[0]) for line in lines}
    assert found["retrain"] == ("", "control", "no:")
    assert found["jit"] == ("1", "better", "no:")
    assert found["finetune"] == ("2", name, "yes")
    assert found["scrub"] == ("2", "torn", "no:")  # a tie
    own = next(line for line in lines if line["run"] == name)
    assert own["weights"] == done.results["weights"]
    assert own["command"] == done.results["command"]
    assert float(own["value"]) == gap
    page = (tmp_path / "board" / "leaderboard.md").read_text()
    assert f"| 2 | finetune | {gap:.3f} | 1 | 1/1 |" in page
    assert f"| 1 | jit | {gap / 2:.3f} | 1 | 0/1 |" in page
    assert str(tmp_path) not in page


def test_a_folder_without_a_finished_run_has_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "runs" / "half").mkdir(parents=True)
    assert main([str(tmp_path / "runs")]) == 1
    assert capsys.readouterr().err.startswith("leaderboard: no finished run")


def test_corrective_runs_are_ranked_by_what_they_correct(tmp_path: Path) -> None:
    def run(method: str, seen: float) -> dict[str, Any]:
        rows = {"original": {}, "unlearned": {"forget/acc": 0.5, "corrective/acc_seen": seen}}
        return result(method=method, rows=rows, sizes={"forget": 10, "manipulated": 100})

    (root := tmp_path / "runs").mkdir()
    assert main([str(write_finished(root, run("ssd", 0.6), run("jit", 0.9)))]) == 1
    lines = list(csv.DictReader((root / "leaderboard.csv").open()))
    assert [(line["rank"], line["method"], line["metric"]) for line in lines] == [
        ("1", "jit", "corrective/acc_seen"),
        ("2", "ssd", "corrective/acc_seen"),
    ]
