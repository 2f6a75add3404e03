"""A run that is a trial, changed nothing, destroyed the model or forgot too much says so."""

import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.command_line import Done
from tests.conftest import composed, names
from tests.finished import result
from unlearning.config.validation import parameters, target_of
from unlearning.records import tracked
from unlearning.records.notes import left_out, notes
from unlearning.report.run_table import one_line, title
from unlearning.request import Request

SSD = {"_target_": "unlearning.methods.ssd.SSD", "alpha": 10.0, "lam": 1.0}


def told(
    trial: int | None = None,
    unchanged: bool = False,
    same_parameters: bool = False,
    rows: Mapping[str, Mapping[str, float]] | None = None,
    curves: Mapping[str, list[tuple[int, float]]] | None = None,
    method: Mapping[str, Any] = SSD,
    labels: tuple[int, ...] = (0, 0, 1, 2),
    access: Mapping[str, str] | None = None,
    evaluation: Mapping[str, Any] | None = None,
    **sizes: int,
) -> list[str]:
    """The notes on a run with these rows. Its training set consists of samples 0 to 2."""
    request: Any = SimpleNamespace(config={"trial": trial, "method": method, "evaluation": evaluation}, label="ssd")
    split = SimpleNamespace(train=torch.tensor([0, 1, 2]))
    result: Any = SimpleNamespace(
        unchanged=unchanged,
        same_parameters=same_parameters or unchanged,
        rows={"original": {}, "unlearned": {}} | dict(rows or {}),
        curves=curves or {},
        access=access or {},
        selected={},
        sizes={"forget": 100, "test_forget": 0, "test": 100, "manipulated": 0} | sizes,
        dataset=SimpleNamespace(labels=torch.tensor(labels)),
        evidence={"unlearned": SimpleNamespace(split=split)},
    )
    return notes(request, result)


def retain(before: float, after: float) -> dict[str, dict[str, float]]:
    return {"original": {"retain/acc": before}, "unlearned": {"retain/acc": after}}


def test_a_sound_run_needs_no_note() -> None:
    assert told(rows=retain(0.9, 0.9)) == []


@pytest.mark.parametrize("rule", ["gap", "no_oracle"])
def test_an_epoch_that_was_chosen_by_an_oracle_says_so(rule: str) -> None:
    access = {"retain": "inputs and labels"} | ({"retrained": "predictions"} if rule == "gap" else {})
    curves = {"unlearn/kept_epoch": [(0, 2.0)], "unlearn/distance": [(0, 0.5), (5, 0.1)]}
    (note,) = told(curves=curves, access=access, evaluation={"best_by": rule})
    assert note.startswith(f"epoch 2 of 5 was kept, the best by the rule {rule}")
    assert note.endswith("compared with the retrained model") == (rule == "gap")


def test_a_trial_is_told() -> None:
    (trial,) = told(trial=64)
    assert "64" in trial


@pytest.mark.parametrize(("after", "count"), [(0.46, 0), (0.45, 0), (0.449, 1), (0.0, 1)])  # half of .9 is .45
def test_less_than_half_of_the_retain_accuracy_is_a_destroyed_model(after: float, count: int) -> None:
    found = told(rows=retain(0.9, after), labels=(0, 1, 2, 2))  # a constant guess is right for a third
    assert len(found) == count
    assert all(f"{after:.3f}" in note and "0.900" in note and "destroyed" in note for note in found)


def test_where_accuracy_failed_nothing_is_said_about_it() -> None:
    assert told(rows={"unlearned": {"retain/acc": 0.0}}) == []


@pytest.mark.parametrize(("after", "count"), [(0.67, 0), (0.66, 1)])  # 2 of the 3 training samples are of class 0
def test_a_model_that_is_no_better_than_a_constant_guess_is_destroyed(after: float, count: int) -> None:
    found = told(rows=retain(0.9, after))
    assert len(found) == count
    assert all("destroyed" in note and "0.667" in note for note in found)


@pytest.mark.parametrize(
    ("before", "blamed"), [(0.66, False), (0.67, True)]
)  # 2 of the 3 training samples are of class 0
def test_an_original_that_knew_nothing_is_not_blamed_on_the_method(before: float, blamed: bool) -> None:
    (note,) = told(rows=retain(before, 0.1))
    assert ("destroyed" in note) == blamed
    assert ("learned nothing" in note) != blamed


# The numbers that explain it, and what to try


def test_the_numbers_of_the_method_and_its_setting_explain_it() -> None:
    curves = {"unlearn/dampened_share": [(0, 0.0)], "unlearn/alpha_bound": [(0, 6.3249)]}
    (note,) = told(unchanged=True, curves=curves)
    assert note.endswith(
        "(dampened_share 0, alpha_bound 6.32); try a smaller method.alpha (now 10) or a smaller method.lam (now 1)"
    )
    curves = {"unlearn/dampened_share": [(0, 0.8304)]}
    (note,) = told(rows=retain(0.9, 0.1), curves=curves)
    assert note.endswith("(dampened_share 0.83); try a larger method.alpha (now 10) or a larger method.lam (now 1)")


def test_a_run_that_moves_the_statistics_of_batch_norm_alone_says_so() -> None:
    (note,) = told(same_parameters=True)
    assert "bit-equal to the original's: only the statistics of BatchNorm moved" in note


@pytest.mark.parametrize(
    ("target", "curves", "options", "said"),
    [
        ("influence_filter.InfluenceFilter", {"dropped": 51.0}, {"threshold": 1.0}, "dropped 51 of 100 retain samples"),
        ("influence_filter.InfluenceFilter", {"dropped": 50.0}, {"threshold": 1.0}, None),
        ("potion.Potion", {"percentile": 95.0, "reached": 0.0}, {"rho": 0.2}, "at percentile 95.00 with more than"),
        ("potion.Potion", {"percentile": 95.0, "reached": 1.0}, {"rho": 0.2}, None),
        ("wood_fisher.WoodFisher", {"residual": 0.02}, {"tolerance": 1e-4}, "a residual of 0.02, above"),
        ("wood_fisher.WoodFisher", {"residual": 1e-5}, {"tolerance": 1e-4}, None),
        ("wood_fisher.WoodFisher", {}, {"tolerance": 1e-4}, None),  # solved exactly
    ],
)
def test_a_method_says_itself_what_its_numbers_do_not_show(
    target: str, curves: dict, options: dict, said: str | None
) -> None:
    points = {f"unlearn/{name}": [(0, 7.0), (1, value)] for name, value in curves.items()}
    found = told(curves=points, method={"_target_": f"unlearning.methods.{target}"} | options, retain=100)
    assert len(found) == (said is not None)
    assert all(said in note for note in found)


def test_steps_last_losses_and_masks_explain_it() -> None:
    curves = {
        "unlearn/forget_loss": [(0, 9.0), (1, 2.5)],
        "unlearn/saliency/mask_ratio": [(0, 0.0)],
        "unlearn/saliency/forget_before": [(0, 7.0)],
    }
    method = {"_target_": "unlearning.methods.jit.JiT", "optimizer": {"lr": 1e-9}}
    (note,) = told(unchanged=True, curves=curves, method=method)
    assert note.endswith(
        "(steps 2, forget_loss 2.5, saliency/mask_ratio 0); try a larger method.optimizer.lr (now 1e-09)"
    )


def test_nothing_is_advised_where_the_method_declares_nothing() -> None:
    for target in ("unlearning.methods.retrain.Retrain", "builtins.dict"):  # a user's own target may be anything
        (note,) = told(unchanged=True, method={"_target_": target})
        assert note.endswith("nothing was forgotten")
    (note,) = told(unchanged=True, method={"_target_": "unlearning.methods.assd.ASSD", "percentile": None})
    assert note.endswith("; try a smaller method.percentile")


@pytest.mark.parametrize("name", names("method"))
def test_advice_names_options_that_exist(name: str) -> None:
    method = target_of(composed(f"method={name}")[0]["method"], "method")
    accepted, _ = parameters(method)
    assert {option.partition(".")[0] for option in method.stronger} <= accepted.keys()
    assert set(method.stronger.values()) <= {"larger", "smaller"}


def test_ssd_without_anything_to_dampen_says_why(command: Any) -> None:
    """Per sample, no alpha above |D| / |D_f| selects any weight."""
    words = ["dataset=wine", "pretrain.epochs=1", "retrained=false", "tracking=none"]
    done: Done = command(*words, "method=ssd", "method.importance=per_sample", "method.alpha=100", "method.keep=null")
    assert done.results["unchanged"]
    (note,) = [note for note in done.results["notes"] if "bit-equal" in note]
    bound = float(re.search(r"\(alpha_bound ([\d.e+]+), dampened_share 0\); try a smaller method.alpha", note)[1])
    sizes = done.results["sizes"]
    assert 1 < bound < 1.001 * sizes["train"] / sizes["forget"] < 100  # the note has three digits
    assert f"* Note: {note}\n" in (done.folder / "MODEL_CARD.md").read_text()
    assert " ".join(f"note: {note}".split()) in " ".join(done.out.split())


@pytest.mark.parametrize(("way", "said"), [(0.375, "0.375 of its change"), (0.0, "nothing of its change")])
def test_a_run_that_was_held_back_is_told_to_change_less(way: float, said: str) -> None:
    """Also where all was undone, by which the weights are those of the original."""
    method = {"_target_": "unlearning.methods.jit.JiT", "optimizer": {"lr": 1e30}}
    (note,) = told(unchanged=not way, curves={"unlearn/way": [(0, way)]}, method=method)
    assert said in note
    assert "method.keep" in note
    assert note.endswith("try a smaller method.optimizer.lr (now 1e+30)")


# Forgetting that goes too far


def attacked(
    ours: float, retrained: float, metric: str = "mia/loss_auc", original: float = 1.0, **sizes: int
) -> list[str]:
    values = {"unlearned": ours, "retrained": retrained, "original": original}
    return told(rows={row: {metric: value} for row, value in values.items()}, **sizes)


@pytest.mark.parametrize("metric", ["mia/loss_auc", "mia/entropy_auc", "mia/entropy_logistic", "forget/acc"])
@pytest.mark.parametrize(("ours", "count"), [(0.0, 1), (0.249, 1), (0.251, 0), (0.9, 0)])  # half of .5
def test_an_attack_that_is_far_below_the_retrained_models_is_no_success(ours: float, count: int, metric: str) -> None:
    found = attacked(ours, 0.5, metric)
    assert len(found) == count
    assert all(metric in note and f"{ours:.3f}" in note and "0.500" in note and "more than" in note for note in found)


def test_a_larger_gap_that_is_harmless_hides_no_other() -> None:
    """Forget accuracy is .47 lower and more than half, the attack's AUC .44 lower and nearly nothing."""
    ours, retrained, original = (
        {"forget/acc": a, "mia/loss_auc": b} for a, b in ((0.48, 0.01), (0.95, 0.45), (1.0, 0.9))
    )
    (note,) = told(rows={"unlearned": ours, "retrained": retrained, "original": original})
    assert "mia/loss_auc is 0.010" in note


def test_the_worst_of_them_is_named() -> None:
    ours, retrained, original = ({"mia/loss_auc": a, "forget/acc": b} for a, b in ((0.1, 0.0), (0.5, 0.9), (0.9, 1.0)))
    (note,) = told(rows={"unlearned": ours, "retrained": retrained, "original": original})
    assert "forget/acc is 0.000" in note


def test_what_the_original_was_like_already_is_not_blamed_on_the_method() -> None:
    assert attacked(0.1, 0.5, original=0.1) == []
    assert len(attacked(0.1, 0.5, original=0.11)) == 1


def test_without_a_retrained_model_an_attack_is_compared_with_a_guess() -> None:
    def found(ours: float, metric: str = "mia/loss_auc") -> list[str]:
        return told(rows={"unlearned": {metric: ours}, "original": {metric: 1.0}})

    (note,) = found(0.249)
    assert "forgot more than a model does that never saw the forget set" in note
    assert found(0.251) == []
    assert found(0.0, "forget/acc") == []  # which may be right for a class


def test_a_retrained_model_that_is_low_too_is_no_reason_for_a_note() -> None:
    assert attacked(0.06, 0.1) == []
    assert attacked(0.0, 0.08) == []  # two deviations are 2 sqrt(201 / 120,000) = .082


def test_where_the_retrained_model_learned_wrong_labels_to_be_below_it_is_right() -> None:
    assert attacked(0.0, 0.9, "forget/acc", manipulated=101) == []
    assert len(attacked(0.0, 0.9, "forget/acc", manipulated=100)) == 1  # all of them are known


def test_a_few_samples_tell_nothing() -> None:
    """An AUC of 4 and 4 samples has a standard deviation of sqrt(9 / 192) = .2165, an accuracy of 4 one of 1/4."""
    few = {"forget": 4, "test_forget": 4}
    assert [len(attacked(auc, 0.5, **few)) for auc in (0.06, 0.07)] == [1, 0]
    assert [len(attacked(auc, 0.5, forget=4, test=4)) for auc in (0.06, 0.07)] == [1, 0]
    assert [len(attacked(rate, 0.9, "forget/acc", **few)) for rate in (0.39, 0.41)] == [1, 0]
    assert [len(attacked(rate, 1.0, "forget/acc", **few)) for rate in (0.49, 0.51)] == [1, 0]


def test_a_trial_is_marked_wherever_its_numbers_are_shown() -> None:
    for trial, mark in ((None, ""), (64, "trial: ")):
        found = result(config={"trial": trial}, sizes={"forget": 2, "train": 9})
        found["rows"]["unlearned"]["cost/seconds"] = 1.0
        assert one_line(found).startswith(f"{mark}forget/acc")
        assert title(found).startswith(f"{mark}ssd on digits")
        config, choices = composed("method=ssd", f"trial={'null' if trial is None else trial}")
        facts = {"config": config | {"choices": choices}, "run_key": "k", "command": "c"}
        logged = tracked.described(facts, {}, {}, [], "FINISHED", 0.0, None)
        assert logged.name == f"{mark}ssd digits s0"
        assert ("trial" in logged.tags) == bool(mark)
        assert Request(config, choices).folder.name.startswith("trial-") == bool(mark)


def test_one_row_is_a_row() -> None:
    one, two = (next(left_out({"rows_without_sample": count})) for count in (1, 2))
    assert (one.split()[:2], two.split()[:2]) == (["1", "row"], ["2", "rows"])
    assert one.split()[4] == "names"
