"""Noise floor, verdicts, comparisons and LaTeX over hand-made runs: every expected number is worked out here."""

import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from tests.finished import result, whole, write_finished
from unlearning.errors import UserError
from unlearning.report import collect, main
from unlearning.report.comparison import mean_cost
from unlearning.report.groups import group_runs
from unlearning.report.html.rows import rows_of
from unlearning.report.latex import escaped, latex
from unlearning.report.noise_floor import noise_floor, size
from unlearning.report.tables import report_on
from unlearning.report.verdicts import differences, judged


@pytest.fixture
def runs(tmp_path: Path) -> Callable[..., Path]:
    """Adds finished runs to a folder, which it returns."""
    root = tmp_path / "runs"
    root.mkdir()
    return partial(write_finished, root)


def seeds(method: str, *values: float, **parts: Any) -> list[dict[str, Any]]:
    """Runs of a method with these forget accuracies, which are their gaps, too."""
    return [result(value, seed, method=method, **parts) for seed, value in enumerate(values)]


def notes(root: Path, **options: Any) -> list[str]:
    """The notes below the only table."""
    (table,) = report_on(collect(root), **options).tables
    return table.notes


# The noise floor


def test_the_gaps_of_retraining_are_one_sigma(runs):
    root = runs(*seeds("retrain", 0.03, -0.01), *seeds("ssd", 0.1, -0.2))
    assert sorted(noise_floor(group_runs(collect(root))[0])["forget/acc"]) == [-0.01, 0.03]
    sigma = math.sqrt((0.0009 + 0.0001) / 2)
    assert size([0.03, -0.01]) == pytest.approx(sigma)
    found = [note for note in notes(root) if "sigma" in note]
    assert "forget/acc 0.022 (n=2)" in found[0]
    ratio = math.sqrt((0.01 + 0.04) / 2) / sigma  # 7.07: gaps to either side do not cancel
    assert found[1:] == [f"ssd: gaps in sigmas (1 is noise; root mean square): forget/acc {ratio:.1f}"]


def test_only_the_noise_of_the_same_recipe_is_a_floor(runs):
    other = {"config": {"pretrain.epochs": 1}}
    root = runs(*seeds("retrain", 0.3, -0.1, **other), *seeds("ssd", 0.1, 0.1), *seeds("scrub", 0.2, 0.2, **other))
    found = [note for note in notes(root) if "sigmas" in note]
    assert len(found) == 1
    assert "scrub" in found[0]


def test_without_two_runs_there_is_no_floor(runs):
    root = runs(*seeds("retrain", 0.03), *seeds("ssd", 0.1, 0.2))
    assert noise_floor(group_runs(collect(root))[0]) == {}
    assert not [note for note in notes(root) if "sigma" in note]


def test_a_floor_without_spread_has_no_unit(runs):
    found = notes(runs(*seeds("retrain", 0.0, 0.0), *seeds("ssd", 0.1, 0.1)))
    assert any("forget/acc: no noise" in note for note in found)


# Verdicts


def test_a_verdict_says_what_is_shown_and_what_is_not(runs):
    gaps = {
        "forget/acc": (0.001, -0.002, 0.003, 0.0),  # near 0
        "retain/acc": (-0.20, -0.21, -0.19, -0.20),  # far
        "test/acc": (0.05, -0.04, 0.03, -0.06),  # neither
    }
    found = [
        result(seed=seed, gaps={f"gap/{name}": values[seed] for name, values in gaps.items()}) for seed in range(4)
    ]
    (said,) = (note for note in notes(runs(*found), margin=0.02) if note.startswith("ssd: "))
    within, differs, rest, missing = said.split("; ")
    assert "within 0.02" in within
    above = stats.ttest_1samp(gaps["forget/acc"], 0.02, alternative="less").pvalue
    assert above < 0.001
    assert "forget/acc (p<.001)" in within
    assert "retain/acc (-0.200, p<.001)" in differs
    half = stats.t.ppf(0.975, 3) * stats.sem(gaps["test/acc"])
    assert f"test/acc (-0.005 ± {half:.3f})" in rest
    assert "fewer than three gaps in mia/loss_auc" in missing
    assert "n=4 (all seeds), 95% confidence (Holm)" in missing


@pytest.mark.parametrize("gaps", [(0.0,), (0.001, 0.0011)])
def test_fewer_than_three_runs_show_nothing(runs, gaps):
    (said,) = (note for note in notes(runs(*seeds("ssd", *gaps)), margin=0.02) if note.startswith("ssd: "))
    assert "nothing is shown" in said


@pytest.mark.parametrize("gap", [0.0, 0.3])
def test_no_spread_is_no_certainty(runs, gap):
    root = runs(*seeds("ssd", gap, gap, gap))
    (said,) = (note for note in notes(root, margin=0.02) if note.startswith("ssd: "))
    assert f"no test for forget/acc ({gap:+.3f}, no spread, n=3)" in said
    assert not [word for word in ("within", "differs", "p<", "p=", "confidence") if word in said]
    shown = {r.metric: (r.shown, r.p) for r in report_on(collect(root)).frame.itertuples() if r.row == "unlearned"}
    assert shown["gap/forget/acc"] == ("no spread", pytest.approx(math.nan, nan_ok=True))
    assert any("n=3 shared seeds: no test" in line for line in compare(root, runs, gap))


def compare(root: Path, runs: Callable[..., Path], gap: float) -> list[str]:
    """The comparison with another method that differs as much in every seed."""
    return report_on(collect(runs(*seeds("jit", *(3 * [gap + 0.1])))), test="gap/forget/acc").tests


def test_equal_models_count_once(runs):
    """Five unlearning seeds of a method that draws nothing, from one original: one model beside one retrained one."""

    def run(seed: int, gap: float, weights: str, retrained: float) -> dict[str, Any]:
        rows = {"original": {}, "retrained": {"forget/acc": retrained}, "unlearned": {"forget/acc": gap + retrained}}
        return result(gap, seed, rows=rows, weights=weights)

    (table,) = (
        judged(differences(group), 0.5)
        for group in group_runs(
            collect(runs(*(run(i, 0.1 + (i == 4) * 0.2, "ab"[i == 4], 0.5) for i in range(5)), run(5, 0.4, "a", 0.2)))
        )[0]
        if group.row == "unlearned"
    )
    (forget,) = (one for one in table if one.metric == "forget/acc")
    assert forget.difference.n == 3  # a beside one retrained model, b beside it, and a beside another
    assert forget.difference.mean == pytest.approx((0.1 + 0.3 + 0.4) / 3)


def test_the_verdict_says_whether_its_p_are_corrected(runs):
    root = runs(*seeds("ssd", 0.01, 0.02, 0.015))
    for margin, said in ((0.05, "each metric by itself"), (0.001, "(Holm)")):
        assert said in notes(root, margin=margin)[-1]


def test_a_wider_margin_shows_more(runs):
    root = runs(*seeds("ssd", 0.01, 0.02, 0.015))
    assert "differs from the retrained model in forget/acc" in notes(root, margin=0.01)[-1]
    assert "within 0.05 of the retrained model in forget/acc" in notes(root, margin=0.05)[-1]


def test_differences_are_corrected_for_the_number_of_metrics(runs):
    gaps = {"forget/acc": (0.03, 0.045, 0.03), "retain/acc": (-0.1, 0.1, 0.0), "test/acc": (0.1, -0.1, 0.01)}
    assert 0.05 / 3 < (alone := stats.ttest_1samp(gaps["forget/acc"], 0).pvalue) < 0.05
    found = [
        result(seed=seed, gaps={f"gap/{name}": values[seed] for name, values in gaps.items()}) for seed in range(3)
    ]
    report = report_on(collect(root := runs(*found)))
    shown = {r.metric: (r.shown, r.p) for r in report.frame.itertuples() if r.row == "unlearned"}
    assert shown["gap/forget/acc"] == ("not shown", pytest.approx(3 * alone))
    for result_ in found:
        result_["gaps"] = {"gap/forget/acc": result_["gaps"]["gap/forget/acc"]}
    report = report_on(collect(runs(*found)))
    shown = {r.metric: (r.shown, r.p) for r in report.frame.itertuples() if r.row == "unlearned"}
    assert shown["gap/forget/acc"] == ("differs", pytest.approx(alone))
    assert main([str(root)]) == 0
    head, *lines = (root / "report.csv").read_text().splitlines()
    assert head.endswith(",sigmas,shown,p")
    assert any(",gap/forget/acc," in line and ",differs," in line for line in lines)


def test_sigmas_are_in_the_long_form(runs):
    root = runs(*seeds("retrain", 0.03, -0.01), *seeds("ssd", 0.1, -0.2))
    found = {(r.method, r.metric): r.sigmas for r in report_on(collect(root)).frame.itertuples()}
    assert found["ssd", "gap/forget/acc"] == pytest.approx(math.sqrt(0.025) / math.sqrt(0.0005))
    assert math.isnan(found["retrain", "gap/forget/acc"])
    assert math.isnan(found["ssd", "forget/acc"])


def test_corrective_runs_are_judged_beside_the_clean_model(runs):
    """The retrained model has learned what is wrong: to be as it is would be no success."""

    def run(seed: int, seen: float, clean: bool = True) -> dict[str, Any]:
        rows = {"original": {}, "retrained": {"forget/acc": 0.0}, "unlearned": {"corrective/acc_seen": seen}}
        rows["clean"] = {"corrective/acc_seen": 0.9} if clean else {}
        return result(0.0, seed, rows=rows, sizes={"forget": 10, "manipulated": 100})

    root = runs(*(run(seed, seen) for seed, seen in enumerate((0.51, 0.5, 0.49))))
    (said,) = (note for note in notes(root, margin=0.02) if note.startswith("ssd: "))
    assert "differs from the clean model in corrective/acc_seen (-0.400" in said
    assert "retrained" not in said
    shown = {r.metric: r.shown for r in report_on(collect(root)).frame.itertuples() if r.row == "unlearned"}
    assert (shown["corrective/acc_seen"], shown["gap/forget/acc"]) == ("differs", "")


def test_corrective_runs_without_a_clean_model_say_why_there_is_no_verdict(runs):
    rows = {"original": {}, "unlearned": {"corrective/acc_seen": 0.5}}
    found = [result(0.0, seed, rows=rows, sizes={"forget": 10, "manipulated": 100}) for seed in (0, 1, 2)]
    (said,) = (note for note in notes(runs(*found), margin=0.02) if note.startswith("ssd: "))
    assert "nothing is shown: its retrained model has learned manipulated samples" in said


# Methods against each other


def test_methods_are_compared_over_the_seeds_that_they_share(runs):
    ssd, jit, scrub = (0.10, 0.12, 0.11, 0.50), (0.20, 0.23, 0.20), (0.11, 0.13, 0.10)
    root = runs(*seeds("ssd", *ssd[:3]), *seeds("jit", *jit), *seeds("scrub", *scrub), *seeds("once", 0.9))
    lines = report_on(collect(root), test="gap/forget/acc").tests
    text = "\n".join(lines)
    assert "best: ssd" in text
    worse, similar = (stats.ttest_rel(other, ssd[:3]).pvalue for other in (jit, scrub))
    assert f"jit: +0.100, p={min(2 * worse, 1):.3f}, n=3 shared seeds" in text
    assert f"scrub: +0.003, p={similar:.3f}, n=3 shared seeds" in text
    assert "once: n=1 shared seeds: no test" in text
    assert "no mean ranks" in text  # one setting


def test_what_counts_is_the_distance_to_the_retrained_model(runs):
    root = runs(*seeds("ssd", -0.3, -0.3), *seeds("jit", 0.1, 0.1))
    (best,) = (line for line in report_on(collect(root), test="forget/acc").tests if "best:" in line)
    assert best.endswith("best: jit")


def test_mean_ranks_are_over_settings(runs):
    found = [
        result(value, method=method, config={"scenario.classes": [setting]}, gaps=whole(value))
        for setting in range(4)
        for method, value in {"ssd": 0.1, "jit": 0.2, "scrub": 0.3 if setting else 0.15}.items()
    ]
    text = "\n".join(report_on(collect(runs(*found)), test="gap/mean").tests)
    assert "mean ranks over 4 settings (1 is best): ssd 1.00, jit 2.25, scrub 2.75" in text
    critical = 2.343 * math.sqrt(3 * 4 / (6 * 4))  # Demsar (2006), table 5
    assert f"critical difference {critical:.2f}" in text
    assert [line for line in text.splitlines() if "told apart" in line] == [
        "not told apart: ssd, jit",
        "not told apart: jit, scrub",
    ]
    friedman = stats.friedmanchisquare([0.1] * 4, [0.2] * 4, [0.15, 0.3, 0.3, 0.3]).pvalue
    assert f"Friedman p={friedman:.3f}" in text


# Intervals, and the command


def test_a_table_can_have_bootstrap_intervals_or_deviations(runs):
    root = runs(*seeds("ssd", 0.1, 0.2, 0.3))
    (table,) = report_on(collect(root), "forget/acc", interval="sd").tables
    assert table.lines[-1].cells["forget/acc"] == ("0.200", "±0.100")
    report = report_on(collect(root), "forget/acc", interval="bootstrap")
    low, high = map(float, re.findall(r"[\d.]+", report.tables[0].lines[-1].cells["forget/acc"][1]))
    assert 0.1 <= low < 0.15  # within the range of the values
    assert 0.25 < high <= 0.3
    assert {"low", "high"} < set(report.frame.columns)
    assert "bootstrap" in report.tables[0].notes[0]


def test_the_command_takes_margin_and_test_and_writes_latex(runs, capsys):
    values = {"ssd": (0.01, 0.012, 0.011), "jit": (0.2, 0.21, 0.2)}
    root = runs(*(result(v, i, method=m, gaps=whole(v)) for m, there in values.items() for i, v in enumerate(there)))
    assert main([str(root), "--margin", "0.05", "--test", "gap/mean", "--interval", "sd"]) == 0
    out = capsys.readouterr().out
    page = (root / "report.md").read_text()
    for text in (out, page):
        assert "within 0.05" in re.sub(r"\s+", " ", text)
        assert "best: ssd" in text
    assert "\\textbf{0.011}" in (root / "report.tex").read_text()
    assert main([str(root), "--margin", "0"]) == 1
    assert "--margin 0:" in capsys.readouterr().err
    assert main([str(root), "--test", "unheard/of"]) == 1


def test_a_metric_without_a_good_side_compares_nothing(runs):
    rows = {row: {"forget/acc": 0.5, "odd": 1.0} for row in ("original", "retrained", "unlearned")}
    with pytest.raises(UserError) as caught:
        report_on(collect(runs(result(rows=rows))), test="odd")
    assert caught.value.key == "--test"


# LaTeX


def test_the_best_of_each_column_is_bold(runs):
    def run(method, forget, retain, **parts):
        rows = {"original": {}, "retrained": {"forget/acc": 0.3, "retain/acc": 1.0}}
        rows["unlearned"] = {"forget/acc": forget, "retain/acc": retain}
        return result(method=method, rows=rows, gaps={"gap/forget/acc": forget - 0.3}) | parts

    directions = {"forget/acc": "to-retrained", "retain/acc": "up"}
    root = runs(*(run(m, *v, directions=directions) for m, v in {"a_1": (0.2, 0.9), "b": (0.5, 0.9)}.items()))
    text = latex(report_on(collect(root), "forget/acc,retain/acc,gap/forget/acc"))
    lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert lines == [
        r"method & forget/acc $\to$ & retain/acc $\uparrow$ & gap/forget/acc $\to$0 & n \\",
        r"retrained & 0.300 & 1.000 & - & 1 \\",
        r"a\_1 & \textbf{0.200} & \textbf{0.900} & \textbf{-0.100} & 1 \\",
        r"b & 0.500 & \textbf{0.900} & 0.200 & 1 \\",
    ]
    assert text.count("\\begin{tabular}{lrrrr}") == text.count("\\end{tabular}") == 1
    assert [text.count(f"\\{name}") for name in ("toprule", "midrule", "bottomrule")] == [1, 2, 1]


def test_gaps_to_either_side_do_not_cancel_to_the_best(runs):
    """Of a_1 the mean gap is 0 and the mean absolute gap .3; of b both are .1, and the page, LaTeX and ranks agree."""
    root = runs(*seeds("a_1", 0.3, -0.3), *seeds("b", 0.1, 0.1))
    report = report_on(collect(root), "forget/acc,gap/forget/acc", test="forget/acc")
    bold = [line for line in latex(report).splitlines() if r"\textbf" in line]
    assert bold == [r"b & \textbf{0.100} $\pm$0.000 & \textbf{0.100} $\pm$0.000 & 2 \\"]
    assert any(line.endswith("best: b") for line in report.tests)
    cells = {row["label"]: row["values"] for row in rows_of(report, root)[0] if row["kind"] == "unlearned"}
    for metric in ("forget/acc", "gap/forget/acc"):
        assert [(cells[name][metric]["best"], cells[name][metric]["cost"]) for name in ("a_1", "b")] == [
            (False, pytest.approx(0.3)),
            (True, pytest.approx(0.1)),
        ]


def test_a_cost_goes_by_the_side_that_is_good(runs):
    found = {g.label: g for g in group_runs(collect(runs(*seeds("ssd", 0.2, -0.4))))[0] if g.row == "unlearned"}
    costs = {arrow: mean_cost(found["ssd"], "forget/acc", arrow) for arrow in ("→", "→0", "↑", "↓", "")}
    assert costs.pop("") is None
    assert costs == pytest.approx({"→": 0.3, "→0": 0.3, "↑": 0.1, "↓": -0.1})


def test_special_characters_are_escaped():
    assert escaped(r"a_b & 5% {x} \y #1 $2 ~^") == (
        r"a\_b \& 5\% \{x\} \textbackslash{}y \#1 \$2 \textasciitilde{}\textasciicircum{}"
    )
    assert escaped("0.1 ±0.2†") == r"0.1 $\pm$0.2$\dagger$"


def test_controls_compete_with_none(runs, capsys):
    """Retraining is nearest to the retrained model, and the head alone keeps most: neither is a method to rank."""
    root = runs(
        *seeds("retrain", 0.0, 0.0), *seeds("head_only", 0.01, 0.01), *seeds("ssd", 0.1, 0.2), *seeds("jit", 0.3, 0.3)
    )
    report = report_on(collect(root))
    bold = [line for line in latex(report).splitlines() if r"\textbf" in line]
    assert "ssd" in (named := {line.split()[0] for line in bold})
    assert named <= {"ssd", "jit"}
    said = main([str(root), "--test", "forget/acc", "--out", str(root)]) or capsys.readouterr().out
    assert "best: ssd" in said
    assert "head_only:" not in said.partition("paired tests")[2]
