"""The rules by which settings and epochs are chosen, by hand; and that no test sample plays a part."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.predictions import ids, one_hot
from unlearning.errors import UserError
from unlearning.metrics.accuracy import Accuracy
from unlearning.metrics.base import Evidence, gaps, mean_gap
from unlearning.metrics.membership import ValidationMembership
from unlearning.metrics.rules import RULES, measured, rule_for
from unlearning.types import Split

LABELS = ids(0, 0, 1, 1, 0, 0, 1, 1, 0, 1)  # of the forget set 0 and 1, retain 2 and 3, validation 4-7, test 8 and 9


def evidence(predicted: Tensor, original: Tensor, retrained: Tensor | None = None, whole: bool = False) -> Evidence:
    """Ten samples of two classes, of which class 0 is forgotten: whole, or two samples of it."""
    split = Split(
        train=ids(0, 1, 2, 3),
        forget=ids(0, 1),
        retain=ids(2, 3),
        validation=ids(4, 5, 6, 7),
        test=ids(8, 9),
        test_forget=ids(8),
        test_retain=ids(9),
        forget_classes=(0,) if whole else (),
    )
    return Evidence(predicted, LABELS, split, ("cat", "dog"), original=original, retrained=retrained)


RIGHT = one_hot(*LABELS.tolist(), count=2)
ORIGINAL = one_hot(0, 0, 1, 1, 0, 1, 1, 1, 1, 0, count=2)  # wrong on validation sample 5, and on all of test
FORGETFUL = one_hot(0, 1, 1, 0, 1, 1, 1, 1, 0, 1, count=2)


def test_the_numbers_by_hand() -> None:
    found = measured(evidence(FORGETFUL, RIGHT))
    # The losses of the forget set are low and high, those of validation samples 4 and 5 high: one pair of two is
    # ordered as an attack would have it, and in the other the two are equal.
    assert found == {
        "forget/acc": 0.5,
        "forget/ua": 0.5,
        "retain/acc": 0.5,
        "val/acc": 0.5,
        "val/loss_auc": pytest.approx(0.75),
    }


def test_the_distance_to_the_retrained_model_is_the_gap_of_a_run() -> None:
    seen = evidence(FORGETFUL, ORIGINAL, retrained=one_hot(*[1] * 10, count=2), whole=True)
    # The retrained model: forget 0, retain 1, validation .5, and all losses of class 0 alike: an AUC of .5.
    expected = RULES["gap"].expected(seen)
    assert expected == {"forget/acc": 0.0, "retain/acc": 1.0, "val/acc": 0.5, "val/loss_auc": 0.5}
    score = mean_gap(measured(seen), expected)
    assert score == pytest.approx((0.5 + 0.5 + 0 + 0.25) / 4)
    metrics = {"accuracy": Accuracy(), "validation": ValidationMembership()}
    rows = [
        {k: v for m in metrics.values() for k, v in m(seen.of(logits)).items()}
        for logits in (FORGETFUL, seen.retrained)
    ]
    assert gaps(metrics, *rows)["gap/mean_val"] == pytest.approx(score)


def test_without_a_retrained_model_a_class_must_be_gone_and_the_rest_as_it_was() -> None:
    expected = RULES["no_oracle"].expected(evidence(FORGETFUL, ORIGINAL, whole=True))
    assert expected == {"forget/acc": 0.0, "retain/acc": 1.0, "val/acc": 0.5, "val/loss_auc": 0.5}


def test_without_a_retrained_model_samples_must_look_like_unseen_ones() -> None:
    expected = RULES["no_oracle"].expected(evidence(FORGETFUL, ORIGINAL))
    assert expected == {"forget/acc": 0.5, "retain/acc": 1.0, "val/acc": 0.75, "val/loss_auc": 0.5}


def test_corrected_samples_are_counted_by_their_correct_labels() -> None:
    asked = evidence(FORGETFUL, ORIGINAL)
    wrong = replace(asked, split=replace(asked.split, manipulated=ids(0, 1, 2)), true_labels=torch.ones(10).long())
    assert measured(wrong)["corrective/acc_known"] == 0.5
    assert mean_gap(measured(wrong), RULES["corrected"].expected(wrong)) == pytest.approx((0.5 + 0.5) / 2)


@pytest.mark.parametrize("name", RULES)
def test_no_rule_looks_at_a_test_sample(name: str) -> None:
    seen = evidence(FORGETFUL, ORIGINAL, retrained=RIGHT)
    labels = LABELS.clone()
    labels[8:] = labels[8:].flip(0)
    others = [logits.clone().index_fill(0, ids(8, 9), -3.0) for logits in (FORGETFUL, ORIGINAL, RIGHT)]
    changed = replace(seen, logits=others[0], original=others[1], retrained=others[2], labels=labels)
    assert measured(changed) == measured(seen)
    assert RULES[name].expected(changed) == RULES[name].expected(seen)


@pytest.mark.parametrize(
    ("name", "changes", "retrained", "key", "kind"),
    [
        ("gaps", {}, True, "rule", "choice"),
        ("gap", {}, False, "rule", "conflict"),
        ("gap", {"validation": ids()}, True, "split.validation", "missing"),
        ("corrected", {}, True, "rule", "conflict"),
        ("gap", {"manipulated": ids(0, 1, 2)}, True, "rule", "conflict"),
        ("no_oracle", {"manipulated": ids(0, 1)}, True, "rule", "conflict"),
    ],
)
def test_a_rule_that_cannot_serve_is_refused(
    name: str, changes: dict[str, Tensor], retrained: bool, key: str, kind: str
) -> None:
    split = replace(evidence(RIGHT, RIGHT).split, **changes)
    with pytest.raises(UserError) as refused:
        rule_for(name, split, retrained, "rule")
    assert (refused.value.key, refused.value.kind) == (key, kind)


def test_rules_serve_what_they_are_for() -> None:
    split = evidence(RIGHT, RIGHT).split
    assert rule_for("gap", split, True, "rule") is RULES["gap"]
    assert rule_for("no_oracle", split, False, "rule") is RULES["no_oracle"]
    assert rule_for("gap", replace(split, manipulated=ids(0, 1)), True, "rule") is RULES["gap"]  # all are known
    assert rule_for("corrected", replace(split, manipulated=ids(0, 1, 2)), False, "rule") is RULES["corrected"]


def test_too_few_validation_samples_are_an_error_of_the_user() -> None:
    seen = evidence(RIGHT, RIGHT)
    with pytest.raises(UserError) as refused:
        measured(replace(seen, split=replace(seen.split, validation=ids(4))))
    assert refused.value.key == "split.validation"
