"""The table that ends a run, over hand-made results."""

import io
from typing import Any

import pytest
from rich.console import Console

from unlearning.report.run_table import one_line, run_table


def results(**parts: Any) -> dict[str, Any]:
    rows = {
        "original": {"forget/acc": 1.0, "mia/loss_auc": 0.75, "cost/passes": 38790.0, "cost/seconds": 12.345},
        "retrained": {"forget/acc": 0.0, "mia/loss_auc": 0.5},
        "unlearned": {"forget/acc": 0.25, "mia/loss_auc": 0.4, "cost/passes": 1300.0, "class_acc/zero": 1.0},
    }
    rows["unlearned"]["cost/seconds"] = 1.5
    choices = {"method": "scrub", "addon": "[l1]", "dataset": "digits", "model": "small_cnn", "scenario": "class"}
    return {
        "config": {"choices": choices},
        "rows": rows,
        "gaps": {"gap/forget/acc": 0.25, "gap/mia/loss_auc": -0.1, "gap/mean": 0.175},
        "directions": {"forget/acc": "to-retrained", "mia/loss_auc": "to-retrained", "class_acc/zero": "up"},
        "access": {"forget": "inputs and labels", "train": "inputs"},
        "sizes": {"forget": 131, "train": 1293},
        "failed": {},
        "notes": [],
    } | parts


def shown(found: dict[str, Any]) -> list[str]:
    console = Console(width=100, record=True, file=io.StringIO())
    run_table(found, console)
    return [" ".join(line.split()) for line in console.export_text().splitlines()]


def test_title_rows_and_caption() -> None:
    lines = shown(results())
    assert lines[0] == "scrub+l1 on digits (small_cnn): forget 131 of 1,293 training samples (scenario: class)"
    assert "│ forget/acc │ → │ 1.000 │ 0.000 │ 0.250 │ +0.250 │" in lines
    assert "│ cost/passes │ ↓ │ 38,790 │ │ 1,300 │ │" in lines
    assert "│ gap/mean │ ↓ │ │ │ │ 0.175 │" in lines
    assert lines[-2:] == [
        "gap/mean: mean absolute gap over forget/acc, mia/loss_auc",
        "Data access of scrub+l1: forget set (inputs, labels), training set (inputs)",
    ]
    assert not any("class_acc" in line for line in lines)


def test_numbers_without_enough_samples_are_named() -> None:
    few = {
        "mia/loss_tpr_at_1pct": [37, 100],
        "mia/entropy_tpr_at_1pct": [37, 100],
        "mia/loss_tpr_at_0.1pct": [37, 1000],
    }
    found = results(unstated=few)
    found["rows"]["unlearned"] |= {"attack/svc_loss_auc": 0.5, "attack/svc_loss_auc_low": 0.4}
    found["directions"] |= {"attack/svc_loss_auc": "to-retrained", "attack/svc_loss_auc_low": "to-retrained"}
    lines = shown(found)
    told = "not stated: mia/loss_tpr_at_1pct, mia/entropy_tpr_at_1pct: unseen samples: 37, and at least 100 are needed"
    text = " ".join(lines)
    assert told in text
    assert "mia/loss_tpr_at_0.1pct: unseen samples: 37, and at least 1,000 are needed" in text
    assert "svc_loss_auc" in text
    assert "_low" not in text


def test_without_a_retrained_model_there_is_no_gap() -> None:
    found = results(gaps={}, access={})
    del found["rows"]["retrained"]
    lines = shown(found)
    assert "│ forget/acc │ → │ 1.000 │ 0.250 │" in lines
    assert lines[-1] == "Data access of scrub+l1: none"
    assert not any("gap" in line or "closer to the retrained" in line for line in lines)
    assert any(line.startswith("No retrained model: forget/acc") for line in lines)
    assert not any("No retrained model" in line for line in shown(results()))


def test_a_destroyed_model_is_the_first_line_and_no_second_note() -> None:
    lines = shown(results(warning="[x] destroyed", notes=["[x] destroyed", "another"]))
    assert lines[0] == "warning: [x] destroyed"
    assert [line for line in lines if line.startswith("note:")] == ["note: another"]
    assert one_line(results(warning="destroyed")).startswith("warning, see its note: forget/acc")


def test_a_metric_that_failed_alike_for_several_models_is_said_once() -> None:
    lines = shown(results(failed={"original: zrf": "why", "unlearned: zrf": "why", "unlearned: cka": "other"}))
    assert lines[-2:] == ["failed: original, unlearned: zrf: why", "failed: unlearned: cka: other"]


def test_failures_and_notes_stand_below() -> None:
    lines = shown(results(failed={"unlearned: zrf": "ValueError: why"}, notes=["[no-op] nothing was changed"]))
    assert lines[-2:] == ["failed: unlearned: zrf: ValueError: why", "note: [no-op] nothing was changed"]


@pytest.mark.parametrize(
    ("sizes", "told"), [({"forget": 10, "manipulated": 30}, True), ({"forget": 30, "manipulated": 30}, False)]
)
def test_unknown_manipulated_samples_are_pointed_out(sizes: dict[str, int], told: bool) -> None:
    lines = shown(results(sizes=sizes | {"train": 100}))
    assert any(line.startswith("the retain set holds manipulated samples") for line in lines) == told


def test_a_run_in_one_line() -> None:
    assert one_line(results()) == "forget/acc 0.250  gap/mean 0.175  1.5 s"
    assert (
        one_line(results(gaps={}, failed={"unlearned: zrf": "why"})) == "forget/acc 0.250  1.5 s  some metrics failed"
    )
