"""The report over hand-made results: every expected number is worked out here, not read from the code."""

import json
import math
import os
import subprocess
import sys

import pytest

from unlearning.errors import UserError
from unlearning.metrics.directions import TAUGHT
from unlearning.report import aggregate, collect, main

T_95 = 4.303  # Student's t for two degrees of freedom, from a table


def result(forget=0.0, seed=0, *, method="ssd", addon="", choices=None, config=None, **parts):
    """A results.json as a run writes it; all four seeds follow ``seed`` unless ``config`` says otherwise."""
    resolved = {
        "seed": seed,
        "split": {"seed": seed},
        "scenario": {"_target_": "s.ClassForgetting", "seed": seed, "classes": [3], "count": None},
        "pretrain": {"seed": seed, "epochs": 15},
        "dataset": {"name": "digits"},
        "model": {"width": 32},
        "method": {"alpha": 10, "seed": seed},
        "addon": {},
        "evaluation": {"accuracy": {"_target_": "m.Accuracy"}},
        "paths": {"data": "/here/data"},
        "trainer": {"accelerator": "cpu"},
    }
    for key, value in (config or {}).items():
        *groups, leaf = key.split(".")
        node = resolved
        for group in groups:
            node = node.setdefault(group, {})
        node[leaf] = value
    resolved["dataset"]["seed"] = resolved["split"]["seed"]  # resolved from it, so not a seed of its own
    names = {"dataset": "digits", "model": "small_cnn", "scenario": "class", "pretrain": "digits"}
    resolved["choices"] = names | {"method": method, "addon": addon} | (choices or {})
    return {
        "config": resolved,
        "rows": {row: {"forget/acc": v} for row, v in (("original", 1.0), ("retrained", 0.0), ("unlearned", forget))},
        "gaps": {"gap/forget/acc": forget, "gap/mean": abs(forget)},
        "cost": {"cost/seconds": 2.0, "cost/peak_mib": None},
        "directions": {"forget/acc": "to-retrained"},
        "failed": {},
    } | parts


@pytest.fixture
def runs(tmp_path):
    """Writes finished runs, each later than the one before."""
    root = tmp_path / "runs"
    root.mkdir()

    def write(*results):
        for found in results:
            number = len(list(root.iterdir()))
            folder = root / f"run{number}"
            folder.mkdir()
            (folder / "results.json").write_text(json.dumps(found))
            (folder / "DONE").touch()
            os.utime(folder / "DONE", (1000 + number, 1000 + number))
        return root

    return write


def table(root, metrics=("forget/acc",), by=()):
    """The aggregate by label, references apart."""
    frame = aggregate(collect(root), list(metrics), by)
    return {(r.row, r.method, r.metric): r for r in frame.itertuples()}


def only(root, label, metric="forget/acc"):
    return table(root, [metric])["unlearned", label, metric]


def test_mean_deviation_and_interval_over_three_seeds(runs):
    found = only(runs(*(result(value, seed) for seed, value in enumerate((0.1, 0.2, 0.3)))), "ssd")
    assert found.mean == pytest.approx(0.2)
    assert found.std == pytest.approx(0.1)  # sqrt((.01 + 0 + .01) / 2)
    assert found.ci95 == pytest.approx(T_95 * 0.1 / math.sqrt(3), abs=1e-4)  # .2484
    assert (found.n, found.varied, found.failed) == (3, "all seeds", 0)


def test_one_run_has_no_interval(runs, capsys):
    root = runs(result(0.25))
    found = only(root, "ssd")
    assert (found.mean, found.n) == (0.25, 1)
    assert math.isnan(found.std)
    assert math.isnan(found.ci95)
    assert main([str(root)]) == 0
    assert "±" not in capsys.readouterr().out


def test_hyper_parameters_separate_groups_and_tell_them_apart(runs):
    root = runs(*(result(0.1, s) for s in (0, 1)), *(result(0.5, s, config={"method.alpha": 100}) for s in (0, 1)))
    found = {r.method: (r.mean, r.n) for r in table(root).values() if r.row == "unlearned"}
    assert found == {"ssd alpha=10": (0.1, 2), "ssd alpha=100": (0.5, 2)}


def test_parameters_that_all_share_are_not_in_the_label(runs):
    root = runs(result(config={"method.lam": 1.0}), result(config={"method.lam": 1}, seed=1), result(method="jit"))
    assert [(r.method, r.n) for r in table(root).values() if r.row == "unlearned"] == [("jit", 1), ("ssd", 2)]


def test_addons_are_part_of_the_label(runs):
    root = runs(
        result(method="scrub"),
        result(method="scrub", addon="[l1,sam]", config={"addon.l1.weight": 0.1}),
        result(method="scrub", addon="[l1,sam]", config={"addon.l1.weight": 0.2}),
    )
    labels = {r.method for r in table(root).values() if r.row == "unlearned"}
    assert labels == {"scrub", "scrub+l1+sam l1.weight=0.1", "scrub+l1+sam l1.weight=0.2"}


def test_another_pretraining_is_another_group_and_another_original(runs):
    long = {"choices": {"pretrain": "long"}, "config": {"pretrain.epochs": 90}}
    labels = [r.method for r in table(runs(result(), result(**long))).values()]
    assert labels.count("original pretrain=long") == labels.count("original pretrain=digits") == 1
    assert {"ssd pretrain=long", "ssd pretrain=digits"} < set(labels)


def test_paths_trainer_and_place_of_the_data_do_not_separate(runs):
    there = {"paths.data": "/there/data", "trainer.accelerator": "gpu", "dataset.root": "/there/data/digits"}
    root = runs(result(0.1, config={"dataset.root": "/here/data/digits"}), result(0.3, 1, config=there))
    assert only(root, "ssd").n == 2


def test_runs_of_another_precision_are_not_averaged_with_the_others(runs):
    precisions = {"32-true": (0.1, 0.2), "bf16-mixed": (0.5, 0.8)}
    root = runs(
        *(
            result(value, seed, config={"trainer.precision": precision})
            for precision, values in precisions.items()
            for seed, value in enumerate(values)
        )
    )
    found = {(row, label): (r.mean, r.n) for (row, label, _), r in table(root).items()}
    assert found == {
        (row, f"{name} trainer.precision={precision}"): (pytest.approx(mean), 2)
        for row, name, means in (
            ("original", "original", (1.0, 1.0)),
            ("retrained", "retrained", (0.0, 0.0)),
            ("unlearned", "ssd", (0.15, 0.65)),
        )
        for precision, mean in zip(precisions, means, strict=True)
    }


def test_unlearning_seed_only_says_so_and_counts_the_original_once(runs):
    fixed = {"split.seed": 0, "scenario.seed": 0, "pretrain.seed": 0}
    found = table(runs(*(result(s / 10, s, config=fixed) for s in range(3))))
    assert found["unlearned", "ssd", "forget/acc"].varied == "unlearning seed only; same original"
    assert found["original", "original", "forget/acc"].n == found["retrained", "retrained", "forget/acc"].n == 1


def test_some_seeds_are_named(runs):
    fixed = {"scenario.seed": 0, "pretrain.seed": 0}
    assert only(runs(*(result(seed=s, config=fixed) for s in range(3))), "ssd").varied == "unlearning and split seeds"


def test_a_seed_of_its_own_is_named_and_one_that_follows_is_not(runs):
    fixed = {"split.seed": 0, "scenario.seed": 0, "pretrain.seed": 0}
    root = runs(*(result(seed=s, config=fixed | {"model.init_seed": s, "evaluation.seed": s}) for s in range(3)))
    found = table(root)
    assert found["unlearned", "ssd", "forget/acc"].varied == "unlearning seed only; same original"
    assert found["original", "original", "forget/acc"].varied == "model.init seed only"


def test_references_shared_by_methods_count_once(runs):
    root = runs(*(result(seed=seed, method=method) for seed in range(3) for method in ("ssd", "jit")))
    found = table(root)
    assert found["original", "original", "forget/acc"].n == 3
    assert found["original", "original", "forget/acc"].mean == 1.0
    assert found["unlearned", "jit", "forget/acc"].n == 3


def test_the_method_original_is_not_the_reference(runs):
    found = table(runs(result(0.9, method="original")))
    assert found["original", "original", "forget/acc"].mean == 1.0
    assert found["unlearned", "original", "forget/acc"].mean == 0.9


def test_an_older_repeat_does_not_count(runs, capsys):
    root = runs(result(0.1), result(0.5))  # the same seeds: the later run stands
    found = only(root, "ssd")
    assert (found.mean, found.n) == (0.5, 1)
    main([str(root)])
    assert "1 run left out" in capsys.readouterr().out


def test_without_retrained_model_there_is_no_row_of_it(runs):
    bare = result(0.2, config={"retrained": False})
    del bare["rows"]["retrained"], bare["gaps"]
    assert {key[0] for key in table(runs(bare))} == {"original", "unlearned"}


def test_a_run_with_the_retrained_model_stands_for_the_same_without(runs):
    bare = result(0.2, config={"retrained": False})
    del bare["rows"]["retrained"], bare["gaps"]
    found = table(runs(result(0.2), bare), ["forget/acc", "gap/mean"])
    assert [(key[1:], r.n) for key, r in found.items() if key[0] == "unlearned"] == [
        (("ssd", "forget/acc"), 1),
        (("ssd", "gap/mean"), 1),
    ]


def test_references_first_then_by_gap(runs):
    root = runs(result(0.3, method="ssd"), result(0.1, method="scrub"), result(0.2, method="jit"))
    frame = aggregate(collect(root), ["forget/acc"])
    assert list(frame.method) == ["original", "retrained", "scrub", "jit", "ssd"]


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


def test_a_run_without_a_metric_that_it_was_not_asked_for_has_not_failed(runs):
    asked = result(method="jit", config={"evaluation.membership._target_": "m.MIA"})
    asked["rows"]["unlearned"]["mia/loss_auc"] = 0.5
    found = table(runs(asked, result(failed={"unlearned: accuracy": "ValueError: why"})), ["mia/loss_auc"])
    assert [key[1:] for key in found] == [("jit evaluation.membership._target_=m.MIA", "mia/loss_auc")]


def test_runs_of_different_code_are_pointed_out(runs, capsys):
    root = runs(result(git="0123456789"), result(seed=1, git="0123456789"))
    main([str(root)])
    assert "revisions" not in capsys.readouterr().out
    runs(result(seed=2, git="abcdefabcdef+changes"))
    main([str(root)])
    assert "made by different code: revisions 01234567, abcdefab+changes." in capsys.readouterr().out


def test_a_number_that_is_not_finite_is_a_failure(runs):
    found = only(runs(result(math.nan)), "ssd")
    assert (found.n, found.failed) == (0, 1)


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


def test_a_result_of_another_shape_is_unreadable_not_fatal(runs):
    root = runs({"rows": {}}, [], result() | {"cost": {"cost/seconds": "fast"}}, result())
    assert [run.state for run in collect(root)] == ["unreadable"] * 3 + ["done"]


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

- ± half the 95 % interval of the mean over n runs (Student t); n=1 has none.
- n=3 (all seeds)
"""
        in text
    )
    head, *lines = (tmp_path / "out" / "report.csv").read_text().splitlines()
    assert head == "setting,method,row,metric,mean,std,ci95,n,varied,failed"
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--filter", "metod=ssd"], "no run has the config key metod: did you mean method"),
        (["--filter", "ssd"], "--filter ssd: write key=value"),
        (["--filter", "method=jit"], "no finished run passes --filter method=jit"),
        (["--metrics", "forget/ac"], "no run has a metric forget/ac: did you mean forget/acc"),
        (["--by", "splt.seed"], "no run has the config key splt.seed: did you mean split.seed"),
    ],
)
def test_wrong_arguments_are_one_line(runs, capsys, arguments, message):
    assert main([str(runs(result())), *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"report: {message}")
    assert error.count("\n") == 1


def test_by_a_seed_takes_it_out_of_the_interval(runs):
    root = runs(*(result(seed=s, config={"split.seed": split}) for s in (0, 1) for split in (0, 1)))
    found = table(root, by=["split.seed"])
    for split in (0, 1):
        record = found["unlearned", f"ssd split.seed={split}", "forget/acc"]
        assert (record.n, record.varied) == (2, "unlearning, scenario and pretraining seeds")


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
    assert any("too narrow for gap/mean, cost/seconds" in line for line in lines) == (width == 60)


def test_torch_is_not_imported(runs):
    code = "import sys; from unlearning.report import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code, str(runs(result()))], check=True, capture_output=True)
