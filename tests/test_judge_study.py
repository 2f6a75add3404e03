"""The judge study: costs, limits, ranks and verdicts, with expected values derived by hand."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.judge.figure import distances, ranks
from experiments.judge.judging import JUDGES, Setting, agreement, cost, kendall, repeated, setting, spearman
from experiments.judge.results import headline, main, movers, report
from tests.finished import result, write_finished
from unlearning.errors import UserError
from unlearning.metrics.directions import MEAN_OVER
from unlearning.report.runs import Run, collect


def of(costs: dict[str, dict[str, list[float]]], controls: tuple[str, ...] = ("retrain", "head_only")) -> Setting:
    """A setting with the costs of each seed, by judge and method."""
    found = {judge: {m: dict(enumerate(values)) for m, values in own.items()} for judge, own in costs.items()}
    methods = sorted({*found["accuracy"]} - {*controls})
    return Setting("digits-class", range(len(next(iter(costs["accuracy"].values())))), found, methods, {})


def run(method: str, seed: int, metrics: dict[str, float], retrained: dict[str, float], **parts: Any) -> Any:
    """The content of a results.json with these metrics."""
    metrics, retrained = (dict.fromkeys(MEAN_OVER, 0.5) | own for own in (metrics, retrained))
    gaps = {f"gap/{name}": value - retrained[name] for name, value in metrics.items()} | {"gap/mean": 0.1}
    rows = {"original": {}, "retrained": retrained, "unlearned": metrics}
    return result(0.0, seed, method=method, rows=rows, gaps=gaps, **parts)


def test_a_cost_is_the_mean_distance_to_the_retrained_model() -> None:
    names = ("forget/acc", "retain/acc", "test/acc", "cka/original_forget", "cka/retrained_forget", "relearn/steps")
    mine, aim = (dict(zip(names, own, strict=True)) for own in ((0.1, 0.8, 0.7, 0.9, 0.8, 3), (0, 1, 0.7, 0.5, 1, 12)))
    found = Run("x", "done", result=run("ssd", 0, mine, aim))
    assert cost(found, "accuracy") == pytest.approx(0.1)  # .1, .2 and 0
    assert cost(found, "CKA") == pytest.approx(0.3)  # .4, and .2 below 1
    assert cost(found, "relearning") == pytest.approx(0.75)  # 9 of 12 steps
    assert cost(found, "probes") is None


def test_two_models_that_need_no_step_relearn_alike() -> None:
    none = {"relearn/steps": 0.0}
    assert cost(Run("x", "done", result=run("ssd", 0, none, none)), "relearning") == 0.0


def test_orders_are_compared_by_ranks() -> None:
    one, other = np.array([0.1, 0.2, 0.3, 0.4]), np.array([5.0, 7.0, 6.0, 9.0])
    assert spearman(np.stack([one, one]), np.stack([other, -one])) == pytest.approx([0.8, -1.0])  # 1 - 12 / (4 * 15)
    assert kendall(one, other) == pytest.approx(4 / 6)  # five pairs agree, one does not
    assert kendall(one, -one) == -1.0
    assert kendall(np.array([1, 1, 2.0]), np.array([1, 2, 3.0])) == pytest.approx(2 / math.sqrt(6))  # tau-b: 2 of 2, 3
    assert math.isnan(spearman(one[None], np.ones((1, 4)))[0])
    assert math.isnan(kendall(one, np.ones(4)))


def test_a_judge_is_compared_with_itself_from_some_seeds_to_the_others() -> None:
    assert repeated(np.array([[1, 2, 3.0], [1, 2, 3.0]])) == 1.0
    assert repeated(np.array([[1, 2, 3.0], [3, 2, 1.0]])) == -1.0
    # Three seeds: the first alone against the mean (2, 2, 2) of the others has no order, and so has the mean.
    assert math.isnan(repeated(np.array([[1, 2, 3.0], [1, 2, 3.0], [3, 2, 1.0]])))


def test_agreement_has_the_interval_over_seeds() -> None:
    costs = {"a": [0.1, 0.1], "b": [0.2, 0.2], "c": [0.3, 0.3]}
    found = agreement(of({"accuracy": costs, "probes": {"a": [0.3, 0.3], "b": [0.1, 0.1], "c": [0.2, 0.2]}}), "probes")
    assert found is not None
    assert found.spearman == pytest.approx(-0.5)  # ranks 3, 1, 2: 1 - 6 * (4 + 1 + 1) / (3 * 8)
    assert found.kendall == pytest.approx(-1 / 3)
    assert found.interval == pytest.approx((-0.5, -0.5))
    assert found.repeat == pytest.approx(1.0)
    assert agreement(of({"accuracy": costs, "probes": {"a": [0.3, 0.3], "b": [0.1]}}), "probes") is None


FLOOR = [0.01, 0.02, 0.03]  # mean .02 and sd .01: the limit is .04
GOOD, HIGH, WIDE = [0.02, 0.03, 0.03], [0.51, 0.53, 0.55], [0.0, 0.2, 0.04]
JUDGED = {
    "accuracy": {"retrain": FLOOR, "good": GOOD, "hidden": GOOD, "noisy": GOOD, "bad": HIGH},
    "membership": {"retrain": FLOOR, "good": GOOD, "hidden": GOOD, "noisy": GOOD, "bad": GOOD},
    "probes": {"retrain": FLOOR, "good": GOOD, "hidden": HIGH, "noisy": WIDE, "bad": HIGH},
    "CKA": {"retrain": FLOOR, "good": GOOD, "hidden": FLOOR, "noisy": GOOD, "bad": GOOD},
}


def test_who_passes_the_output_and_fails_inside_only_fools_it() -> None:
    there = of(JUDGED)
    assert there.limit("probes") == pytest.approx(0.04)
    assert [m for m in there.ranked if there.passes(m)] == ["good", "hidden", "noisy"]
    # hidden lies .50, .51 and .52 above the floor: t = .51 / (.01 / sqrt 3) = 88. noisy's mean, .08, is above the
    # limit, but its differences of -.01, .18 and .01 show nothing.
    assert {m: there.fails(m) for m in there.ranked} == {
        "good": [],
        "hidden": ["probes"],
        "noisy": [],
        "bad": ["probes"],
    }
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in headline([there])]
    assert rows[-7:-3] == [["methods", "4"], ["seeds", "3"], ["pass the output", "3"], ["of these only fool it", "1"]]
    assert [cells[1] for cells in rows[-3:]] == ["-", "passes", "-"]  # the original, retrain and head_only


def test_a_limit_is_never_below_a_sample_or_two_and_needs_two_seeds() -> None:
    assert of({"accuracy": {"retrain": [0.0, 0.0], "a": [0.0, 0.0]}}).limit("accuracy") == 0.01
    alone = of({"accuracy": {"retrain": [0.0], "a": [0.0]}})
    assert math.isnan(alone.limit("accuracy"))
    assert not alone.passes("a")


def test_movers_are_told_with_their_ranks() -> None:
    fall, rise = movers(of(JUDGED), most=1)
    # By accuracy good, hidden and noisy share rank 2 and bad has 4. By probes good 1, noisy 2, the others 3.5; by CKA
    # hidden is 1 and the others share 3. The means inside are good 2, hidden 2.25, noisy 2.5, bad 3.25.
    assert fall.endswith("inside: noisy (from 2 to 2.5).")
    assert rise.endswith("inside: bad (from 4 to 3.2).")


def test_seeds_that_are_still_being_made_are_left_out(tmp_path: Path) -> None:
    (root := tmp_path / "multirun").mkdir()
    for method, seeds in {"ssd": (0, 1, 2), "scrub": (0, 1), "jit": (0,), "retrain": (0, 1)}.items():
        write_finished(root, *(run(method, seed, {"forget/acc": 0.2 + 0.3 * seed}, {}) for seed in seeds))
    found = setting("digits-class", collect(root))
    assert list(found.seeds) == [0, 1]  # of four methods one has seed 2
    assert found.costs["accuracy"]["ssd"] == pytest.approx({0: 0.1, 1: 0.0})  # .3 and 0 of three metrics
    assert found.ranked == ["scrub", "ssd"]
    assert {*found.costs} == {"accuracy"}


def test_the_page_names_all_judges_and_methods(tmp_path: Path) -> None:
    page = "\n".join(report([of(JUDGED), of(JUDGED)]))
    assert all(judge in page for judge in JUDGES)
    assert "| hidden | 3 | 0.027 ± 0.006 (2) " in page
    assert page.count("passes the output, fails probes |") == 2
    (tmp_path / "cifar10-class" / "multirun" / "unfinished").mkdir(parents=True)
    with pytest.raises(UserError) as error:
        main(tmp_path)
    assert error.value.kind == "file"


def test_figures_show_every_method() -> None:
    panel = distances([of(JUDGED)]).axes[0]
    assert {text.get_text() for text in panel.texts} == {"good", "hidden", "noisy"}
    assert {label.get_text() for label in ranks([of(JUDGED)]).axes[0].get_yticklabels()} == {*JUDGED["CKA"]} - {
        "retrain"
    }
