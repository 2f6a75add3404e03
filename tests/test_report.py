"""The command over hand-made runs: what is on the screen and in the files."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.finished import only, result, table, write_finished
from unlearning.config.legend import TAUGHT
from unlearning.errors import UserError
from unlearning.report import collect, main
from unlearning.report.tables import report_on


@pytest.fixture
def runs(tmp_path: Path) -> Callable[..., Path]:
    """Adds finished runs to a folder, which it returns."""
    root = tmp_path / "runs"
    root.mkdir()
    return partial(write_finished, root)


def test_one_run_has_no_interval(runs, capsys):
    root = runs(result(0.25))
    found = only(root, "ssd")
    assert (found.mean, found.n) == (0.25, 1)
    assert math.isnan(found.std)
    assert math.isnan(found.ci95)
    assert main([str(root)]) == 0
    assert "±" not in capsys.readouterr().out


def test_an_older_repeat_does_not_count(runs, capsys):
    root = runs(result(0.1), result(0.5))  # the same seeds: the later run stands
    found = only(root, "ssd")
    assert (found.mean, found.n) == (0.5, 1)
    main([str(root)])
    assert "1 run left out" in capsys.readouterr().out


@pytest.mark.parametrize(("known", "told"), [(10, True), (100, False)])
def test_what_undiscovered_samples_do_to_the_gaps_is_told(runs, known, told):
    root = runs(result(sizes={"forget": known, "manipulated": 100}))
    assert main([str(root)]) == 0
    assert (TAUGHT in (root / "report.md").read_text()) == told


def test_corrective_metrics_come_first_where_there_are_any(runs):
    rows = {row: {"forget/acc": 0.1, "corrective/acc_seen": 0.9} for row in ("original", "unlearned")}
    root = runs(result(rows=rows), result(choices={"scenario": "random"}))
    assert main([str(root)]) == 0
    heads = [line.split(" | ") for line in (root / "report.md").read_text().splitlines() if line.startswith("| method")]
    assert [[name.split()[0] for name in head[1:3]] for head in heads] == [
        ["corrective/acc_seen", "forget/acc"],
        ["forget/acc", "gap/mean"],
    ]


def test_settings_have_tables_of_their_own(runs, capsys):
    root = runs(result(), result(config={"scenario.classes": [5]}), result(config={"model.width": 64}))
    assert main([str(root)]) == 0
    titles = [line[3:] for line in (root / "report.md").read_text().splitlines() if line.startswith("## ")]
    assert titles == [
        "digits · small_cnn · class (classes=[3]) · width=32",
        "digits · small_cnn · class (classes=[3]) · width=64",
        "digits · small_cnn · class (classes=[5])",
    ]
    assert titles[2] in capsys.readouterr().out


def test_trials_are_never_in_a_table_of_results(runs, capsys):
    root = runs(*(result(v, s, config={"trial": n}) for v, s, n in ((0.1, 0, None), (0.9, 1, 8), (0.7, 2, 4))))
    assert main([str(root)]) == 0
    page = (root / "report.md").read_text()
    assert [line[3:] for line in page.splitlines() if line.startswith("## ")] == [
        "digits · small_cnn · class (classes=[3])",
        "trial: digits · small_cnn · class (classes=[3])",
    ]
    rows = [line for line in page.splitlines() if line.startswith("| ssd")]
    assert [(row.split(" | ")[0], row.split(" | ")[1]) for row in rows] == [
        ("| ssd", "0.100"),
        ("| ssd trial=4", "0.700"),
        ("| ssd trial=8", "0.900"),
    ]
    assert "trial: digits" in capsys.readouterr().out


def test_failed_metrics_are_shown_and_never_imputed(runs, capsys):
    def with_attack(seed, auc):
        found = result(0.1, seed, method="scrub")
        if auc is None:
            found["failed"] = {"unlearned: membership": "ValueError: needs at least\n2 members"}
        else:
            found["rows"]["unlearned"]["mia/loss_auc"] = auc
        return found

    broken = with_attack(0, None)
    broken["config"]["choices"]["method"] = "jit"
    root = runs(with_attack(0, 0.5), with_attack(1, 0.6), with_attack(2, None), broken)
    found = only(root, "scrub", "mia/loss_auc")
    assert found.mean == pytest.approx(0.55)
    assert (found.n, found.failed) == (2, 1)
    none = only(root, "jit", "mia/loss_auc")
    assert math.isnan(none.mean)
    assert (none.n, none.failed) == (0, 1)
    assert main([str(root)]) == 0
    out = capsys.readouterr().out
    assert "0.550*" in out
    assert "failed: jit: membership: ValueError: needs at least 2 members (1 run)" in out
    text = (root / "report.md").read_text()
    assert "- \\* not in all n runs" in text  # a bullet, not a second one inside it
    row = next(line for line in text.splitlines() if line.startswith("| jit"))
    assert row == "| jit | 0.100 | failed | 0.100† | 2.000 | 1 |"


def test_a_reference_can_fail_too_and_takes_the_gap_with_it(runs):
    def with_attack(seed, **parts):
        rows = {row: {"forget/acc": 0.5, "mia/loss_auc": 0.5} for row in ("original", "retrained", "unlearned")}
        return result(seed=seed) | {"rows": rows, "gaps": {"gap/mia/loss_auc": 0.0, "gap/mean": 0.1}} | parts

    blind = with_attack(1, gaps={"gap/mean": 0.1}, failed={"retrained: membership": "ValueError: why"})
    del blind["rows"]["retrained"]["mia/loss_auc"]
    root = runs(with_attack(0), blind)
    found = table(root, ["mia/loss_auc", "gap/mia/loss_auc", "cost/peak_mib"])
    counts = {key[1:]: (r.n, r.failed) for key, r in found.items()}
    assert counts == {
        ("original", "mia/loss_auc"): (2, 0),
        ("retrained", "mia/loss_auc"): (1, 1),
        ("ssd", "mia/loss_auc"): (2, 0),
        ("ssd", "gap/mia/loss_auc"): (1, 1),
    }
    assert main([str(root)]) == 0
    text = (root / "report.md").read_text()
    assert "0.100† ±0.000" in text
    assert "- failed: retrained: membership: ValueError: why (1 run)" in text


def test_runs_of_different_code_are_pointed_out(runs, capsys):
    root = runs(result(git="0123456789"), result(seed=1, git="0123456789"))
    main([str(root)])
    assert "revisions" not in capsys.readouterr().out
    runs(result(seed=2, git="abcdefabcdef+changes"))
    main([str(root)])
    assert "made by different code: revisions 01234567, abcdefab+changes." in capsys.readouterr().out


def test_runs_without_a_result_are_listed(runs, capsys):
    root = runs(result(), result())
    (root / "run0" / "results.json").write_text('{"rows": {')
    for name, marker, text in (("boom", "FAILED", "NaN loss in epoch 3\n"), ("half", "log", "")):
        (root / name).mkdir()
        (root / name / marker).write_text(text)
    assert [run.state for run in collect(root)] == ["failed", "unfinished", "unreadable", "done"]
    assert main([str(root)]) == 0
    for text in (capsys.readouterr().out, (root / "report.md").read_text()):
        assert "boom: NaN loss in epoch 3" in text
        assert "1 unfinished run:" in text
        assert "run0: results.json: JSONDecodeError" in text


def test_nothing_to_report_is_one_line_and_exit_1(tmp_path, capsys):
    for folder, words in ((tmp_path, "no runs in"), (tmp_path / "missing", "no folder")):
        with pytest.raises(UserError, match=words):
            collect(folder)
        assert main([str(folder)]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith(f"report: {words} {folder}: give the folder that holds the runs")
        assert captured.err.count("\n") == 1


def test_failed_runs_alone_are_listed_and_exit_1(tmp_path, capsys):
    (tmp_path / "boom").mkdir()
    (tmp_path / "boom" / "FAILED").write_text("no space left")
    assert main([str(tmp_path)]) == 1
    assert "boom: no space left" in capsys.readouterr().out
    assert not (tmp_path / "report.md").exists()


def test_what_most_rows_share_is_said_of_all_others(runs, capsys):
    many = [result(0.1, seed, config={"method": {"alpha": alpha}}) for seed in (0, 1) for alpha in range(5)]
    assert main([str(runs(*many, result(0.2, 0, method="jit")))]) == 0
    shown = capsys.readouterr().out
    assert "n=1: jit\n" in shown
    assert "n=2 (all seeds): all other rows\n" in shown


def test_markdown_and_csv(runs, tmp_path):
    root = runs(*(result(value, seed) for seed, value in enumerate((0.1, 0.2, 0.3))))
    assert main([str(root), "--metrics", "forget/acc,cost/*", "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "report.md").read_text()
    assert (
        """## digits · small_cnn · class (classes=[3])

| method | forget/acc → | cost/seconds ↓ | n |
| --- | ---: | ---: | ---: |
| *original* | 1.000 ±0.000 | - | 3 |
| *retrained* | 0.000 ±0.000 | - | 3 |
| ssd | 0.200 ±0.248 | 2.000 ±0.000 | 3 |

- ± half the 95 % interval of the mean over n runs (Student t); a single run has no interval.
- n=3 (all seeds)
"""
        in text
    )
    head, *lines = (tmp_path / "out" / "report.csv").read_text().splitlines()
    assert head == "setting,method,row,metric,mean,std,ci95,n,varied,failed,sigmas,shown,p"
    assert len(lines) == 2 + 4  # one of each reference; forget/acc, two gaps and the seconds of the method
    assert not (root / "report.md").exists()


def test_only_the_runs_that_pass_the_filter(runs, capsys):
    root = runs(
        result(method="ssd"),
        result(method="ssd", config={"method.alpha": 0.001}),
        result(method="jit"),
        result(method="scrub"),
    )

    def labels(*filters):
        assert main([str(root), "--filter", *filters]) == 0
        capsys.readouterr()
        rows = [line.split("|") for line in (root / "report.md").read_text().splitlines() if line.startswith("| ")]
        return {row[1].strip() for row in rows} - {"method", "---", "*original*", "*retrained*"}

    assert labels("method=s*", "method.alpha=10") == {"ssd", "scrub"}
    assert labels("method=jit", "method=scrub", "seed=0") == {"jit", "scrub"}
    assert labels("method.alpha=1e-3") == {"ssd"}
    assert labels("scenario.classes=[3]", "method=jit") == {"jit"}

    for name in ("jit", "ssd"):
        (root / f"failed-{name}").mkdir()
        (root / f"failed-{name}" / "FAILED").write_text(f"no luck with {name}")
        asked = {"config": result(method=name)["config"]}
        (root / f"failed-{name}" / "provenance.json").write_text(json.dumps(asked))
    assert main([str(root), "--filter", "method=jit"]) == 0
    out = capsys.readouterr().out
    assert ("no luck with jit" in out, "no luck with ssd" in out) == (True, False)


def test_a_report_replaces_links_and_leaves_what_they_point_to(runs, tmp_path):
    (out := tmp_path / "out").mkdir()
    (mine := tmp_path / "mine.txt").write_text("mine")
    for name in ("report.md", "report.csv", "report.html", "report.tex"):
        (out / name).symlink_to(mine)
    assert main([str(runs(result())), "--out", str(out)]) == 0
    assert mine.read_text() == "mine"
    assert not (out / "report.md").is_symlink()
    (out / "report.csv").unlink()
    os.mkfifo(out / "report.csv")
    assert main([str(runs(result())), "--out", str(out)]) == 1


@pytest.mark.parametrize("damage", [{"cost": None}, {"directions": {"forget/acc": 3}}, {"rows": 3}, {"config": []}])
def test_a_damaged_result_is_told_and_the_others_are_shown(damage, runs, capsys):
    root = runs(result(seed=0), result(seed=1))
    file = min(root.iterdir()) / "results.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | damage))
    assert main([str(root)]) == 0
    assert "1 unreadable run" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "key", "kind"),
    [
        ({"filters": ["metod=ssd"]}, "metod", "choice"),
        ({"filters": ["ssd"]}, "--filter", "value"),
        ({"filters": ["method=jit"]}, "--filter", "value"),
        ({"metrics": "forget/ac"}, "--metrics", "choice"),
        ({"by": "splt.seed"}, "splt.seed", "choice"),
    ],
)
def test_wrong_arguments_are_user_errors(runs, arguments, key, kind):
    with pytest.raises(UserError) as caught:
        report_on(collect(runs(result())), **arguments)
    assert (caught.value.key, caught.value.kind) == (key, kind)


def test_a_user_error_is_one_line(runs, capsys):
    assert main([str(runs(result())), "--filter", "metod=ssd"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("report: no run has the config key metod: did you mean method")
    assert error.count("\n") == 1


def test_the_average_gap_is_defined_once_where_it_is_shown(runs, capsys):
    rates = dict.fromkeys(("forget/acc", "retain/acc", "test/acc", "mia/loss_auc"), 0.1)
    gaps = {f"gap/{metric}": value for metric, value in rates.items()}
    root = runs(
        result(gaps=gaps | {"gap/mean": 0.1}), result(gaps=gaps | {"gap/mean": 0.1}, config={"method.alpha": 2})
    )
    meaning = "gap/mean: mean absolute gap over forget/acc, retain/acc, test/acc, mia/loss_auc"
    assert main([str(root)]) == 0
    for text in (" ".join(capsys.readouterr().out.split()), (root / "report.md").read_text()):
        assert text.count(meaning) == 1
    assert main([str(root), "--metrics", "cost/seconds"]) == 0
    assert "gap/mean:" not in capsys.readouterr().out


def test_notes_of_runs_are_told_once(runs, capsys):
    assert main([str(runs(*(result(seed=seed, notes=["nothing was dampened"]) for seed in (0, 1))))]) == 0
    shown = capsys.readouterr().out
    assert "ssd: nothing was dampened (2 runs)" in shown
    assert shown.count("nothing was dampened") == 1  # and not of the reference models


def test_a_setting_without_any_of_the_columns_has_an_empty_table(runs, capsys):
    bare = result(choices={"scenario": "random"})
    del bare["gaps"]
    assert main([str(runs(result(), bare)), "--metrics", "gap/forget/acc"]) == 0
    assert "digits · small_cnn · random" in capsys.readouterr().out


def test_the_narrowest_screen_shows_one_column(runs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "24")
    assert main([str(runs(result(0.25)))]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["ssd"])
    assert row.split() == ["ssd", "0.250", "1"]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_screen_shows_whole_numbers_or_names_what_it_leaves_out(runs, capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    rates = dict.fromkeys(("forget/acc", "retain/acc", "test/acc", "mia/loss_auc"), 0.125)
    for seed in (0, 1):
        found = result(seed=seed, method="neggrad_plus", addon="[saliency]")
        found["rows"] = dict.fromkeys(("original", "retrained", "unlearned"), rates)
        found["cost"] = {"cost/seconds": 1234.5}
        root = runs(found)
    assert main([str(root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line.rstrip()) for line in lines if "/runs/" not in line) <= width
    assert not any("…" in line for line in lines)
    row = next(line for line in lines if "neggrad_plus" in line)
    assert row.count("0.125") == 4
    assert ("1,234" in row) == (width > 60)  # 1234.5 to the even
    assert any("screen too narrow for gap/mean, cost/seconds" in line for line in lines) == (width == 60)


def test_the_runs_are_below_the_current_folder_unless_said(runs, monkeypatch, capsys):
    root = runs(result())
    root.rename(root.with_name("multirun"))
    monkeypatch.chdir(root.parent)
    assert main([]) == 0
    assert (root.with_name("multirun") / "report.md").is_file()


def test_torch_is_not_imported(runs):
    code = "import sys; from unlearning.report import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code, str(runs(result()))], check=True, capture_output=True)
