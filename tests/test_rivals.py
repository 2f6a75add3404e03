"""What a ranking compares: groups with the same metrics, and of a method's settings the one that validation chose."""

import csv
from pathlib import Path
from typing import Any

import pytest

from tests.finished import result, whole, write_finished
from unlearning.report import collect
from unlearning.report.command import main as report
from unlearning.report.comparison import ranked
from unlearning.report.leaderboard import main
from unlearning.report.rivals import Rivals, rivals
from unlearning.report.tables import report_on


def run(method: str, alpha: int, gap: float, validation: float | None = None, **parts: Any) -> dict[str, Any]:
    """A run whose gaps on test data, and those on validation data, are all alike."""
    gaps = parts.pop("gaps", whole(gap, validation))
    classes = parts.pop("classes", 3)
    config = {"method.alpha": alpha, "scenario.classes": [classes]}
    return result(gap, parts.pop("seed", 0), method=method, config=config, gaps=gaps, **parts)


def board(root: Path) -> dict[str, tuple[str, str]]:
    """Rank and reason of each method on the leaderboard; these runs have no predictions, so none verifies."""
    assert main([str(root)]) == 1
    return {
        line["method"]: (line["rank"], line["unranked"]) for line in csv.DictReader((root / "leaderboard.csv").open())
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (folder := tmp_path / "runs").mkdir()
    return folder


def test_a_run_with_one_metric_is_not_ranked_above_those_with_all(root: Path) -> None:
    one = {"gap/forget/acc": 0.01, "gap/mean": 0.01}
    write_finished(root, run("jit", 1, 0.01, gaps=one), run("ssd", 1, 0.2), run("scrub", 1, 0.3))
    found = board(root)
    assert (found["ssd"], found["scrub"]) == (("1", ""), ("2", ""))
    assert found["jit"][0] == ""
    assert "without gap/retain/acc" in found["jit"][1]
    assert "not ranked: jit: without gap/retain/acc" in (root / "leaderboard.md").read_text()
    (answer,) = answers(root)
    assert answer["best"] == "ssd"
    assert "Not ranked: jit" in answer["words"]
    tests = report_on(collect(root), test="gap/mean").tests
    assert any(line.endswith("best: ssd") for line in tests)
    assert any("not ranked: jit" in line for line in tests)


def test_a_metric_that_a_seed_lacks_is_lacking(root: Path) -> None:
    """Else a method could be ranked by those of its runs that did not collapse."""
    failed = whole(0.0)
    del failed["gap/mean"], failed["gap/mia/loss_auc"]
    write_finished(root, run("jit", 1, 0.01), run("jit", 1, 0.0, seed=1, gaps=failed), run("ssd", 1, 0.2))
    assert [rank for rank, _ in board(root).values()] == ["", "1"]


def test_of_several_settings_the_one_that_validation_chose_is_ranked(root: Path) -> None:
    """On test data alpha=2 is the nearest, on validation data alpha=1; only that is set against the other method."""
    write_finished(root, run("jit", 1, 0.2, 0.05), run("jit", 2, 0.01, 0.08), run("ssd", 1, 0.1, 0.3))
    found = board(root)
    assert found["ssd"] == ("1", "")
    assert found["jit alpha=1"] == ("2", "")
    assert found["jit alpha=2"] == ("", "gap/mean_val 0.080: jit alpha=1 has 0.050")
    (answer,) = answers(root)
    assert answer["best"] == "ssd"
    assert "chosen on test data" not in answer["words"]
    write_finished(root, run("jit", 1, 0.2, 0.05, classes=4), run("ssd", 1, 0.1, 0.3, classes=4))
    ranks = ranked((made := report_on(collect(root))).groups, "gap/mean", made.arrows)
    assert ranks is not None
    assert ranks.means == {"ssd": 1.0, "jit": 2.0}  # one group of jit in each setting


def test_the_mean_over_seeds_of_absolute_gaps_decides(root: Path) -> None:
    """Gaps to either side do not cancel: .3 for alpha=1, .2 for alpha=2."""
    write_finished(root, *(run("jit", 1, 0.1, v, seed=s) for s, v in enumerate((0.3, -0.3))))
    write_finished(root, *(run("jit", 2, 0.1, 0.2, seed=s) for s in range(2)))
    (found,) = [rivals(there, "gap/mean") for there in [[g for g in groups(root) if g.row == "unlearned"]]]
    assert [group.label for group in found.ranked] == ["jit alpha=2"]


def test_without_validation_the_choice_on_test_data_is_told(root: Path) -> None:
    write_finished(root, run("jit", 1, 0.2), run("jit", 2, 0.01), run("ssd", 1, 0.1))
    assert [rank for rank, _ in board(root).values()] == ["1", "2", "3"]
    said = "the best of them was chosen on test data: jit"
    assert said in (root / "leaderboard.md").read_text()
    assert said in answers(root)[0]["words"]


def test_validation_does_not_choose_where_its_gap_lacks_a_metric(root: Path) -> None:
    """``gap/mean_val`` of one metric would be below that of four."""
    part = whole(0.5, 0.0)
    del part["gap/val/acc"]
    write_finished(root, run("jit", 1, 0.5, gaps=part), run("jit", 2, 0.1, 0.2))
    found = board(root)
    assert (found["jit alpha=2"][0], found["jit alpha=1"]) == ("1", ("", "no gap/mean_val: jit alpha=2 has 0.200"))


def test_another_original_is_another_choice(root: Path) -> None:
    other = run("jit", 1, 0.1, 0.5)
    other["config"]["pretrain"]["epochs"] = 99
    write_finished(root, run("jit", 1, 0.2, 0.1), other)
    there = [group for group in groups(root) if group.row == "unlearned"]
    assert rivals(there, "gap/mean") == Rivals(there)


def test_a_page_without_a_ranked_method_says_why(root: Path) -> None:
    write_finished(root, run("jit", 1, 0.01, gaps={"gap/forget/acc": 0.01, "gap/mean": 0.01}))
    (answer,) = answers(root)
    assert answer["words"].startswith("Nothing is ranked. Not ranked: jit: without gap/retain/acc")
    assert report([str(root), "--test", "gap/mean"]) == 0


def groups(root: Path) -> Any:
    """The groups of a report on all runs."""
    return report_on(collect(root)).groups


def answers(root: Path) -> Any:
    """The answers of the page on all runs."""
    from unlearning.report.html.answers import answers as answers_of
    from unlearning.report.html.rows import rows_of

    made = report_on(collect(root))
    return answers_of(made, rows_of(made, root)[0])
