"""Runs as groups: every expected number is worked out here, not read from the code."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.finished import only, result, table, write_finished
from unlearning.report import aggregate, collect

T_95 = 4.303  # Student's t for two degrees of freedom, from a table


@pytest.fixture
def runs(tmp_path: Path) -> Callable[..., Path]:
    """Adds finished runs to a folder, which it returns."""
    root = tmp_path / "runs"
    root.mkdir()
    return partial(write_finished, root)


def test_mean_deviation_and_interval_over_three_seeds(runs):
    found = only(runs(*(result(value, seed) for seed, value in enumerate((0.1, 0.2, 0.3)))), "ssd")
    assert found.mean == pytest.approx(0.2)
    assert found.std == pytest.approx(0.1)  # sqrt((.01 + 0 + .01) / 2)
    assert found.ci95 == pytest.approx(T_95 * 0.1 / math.sqrt(3), abs=1e-4)  # .2484
    assert (found.n, found.varied, found.failed) == (3, "all seeds", 0)


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


def test_a_run_without_a_metric_that_it_was_not_asked_for_has_not_failed(runs):
    asked = result(method="jit", config={"evaluation.membership._target_": "m.MIA"})
    asked["rows"]["unlearned"]["mia/loss_auc"] = 0.5
    found = table(runs(asked, result(failed={"unlearned: accuracy": "ValueError: why"})), ["mia/loss_auc"])
    assert [key[1:] for key in found] == [("jit evaluation.membership._target_=m.MIA", "mia/loss_auc")]


def test_a_number_that_is_not_finite_is_a_failure(runs):
    found = only(runs(result(math.nan)), "ssd")
    assert (found.n, found.failed) == (0, 1)


def test_a_result_of_another_shape_is_unreadable_not_fatal(runs):
    root = runs({"rows": {}}, [], result() | {"cost": {"cost/seconds": "fast"}}, result())
    assert [run.state for run in collect(root)] == ["unreadable"] * 3 + ["done"]


def test_by_a_seed_takes_it_out_of_the_interval(runs):
    root = runs(*(result(seed=s, config={"split.seed": split}) for s in (0, 1) for split in (0, 1)))
    found = table(root, by=["split.seed"])
    for split in (0, 1):
        record = found["unlearned", f"ssd split.seed={split}", "forget/acc"]
        assert (record.n, record.varied) == (2, "unlearning, scenario and pretraining seeds")
