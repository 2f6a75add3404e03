"""Membership inference, by thresholds and by fitted classifiers, against values derived by hand."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.predictions import from_probabilities, ids, one_hot, synthetic, ten_samples
from unlearning.config.validation import check
from unlearning.errors import UserError
from unlearning.metrics.base import Evidence, evaluate
from unlearning.metrics.matched_attack import MatchedLossAttack, class_matched
from unlearning.metrics.membership import FEATURES, MembershipInference, auc, member_score, non_members, tpr_at
from unlearning.metrics.membership_classifiers import EntropyLogistic, SVCMembership
from unlearning.types import Split


@pytest.fixture
def tiny() -> Evidence:
    return ten_samples()


def test_features_by_hand():
    logits, labels = from_probabilities((0.7, 0.2, 0.1), (0.7, 0.2, 0.1)).double(), ids(0, 1)
    ln = math.log
    entropy = -(0.7 * ln(0.7) + 0.2 * ln(0.2) + 0.1 * ln(0.1))
    expected = {
        "loss": [-ln(0.7), -ln(0.2)],
        "confidence": [0.7, 0.2],
        "entropy": [entropy, entropy],
        "modified_entropy": [
            -0.3 * ln(0.7) - 0.2 * ln(0.8) - 0.1 * ln(0.9),
            -0.8 * ln(0.2) - 0.7 * ln(0.3) - 0.1 * ln(0.9),
        ],
        "margin": [ln(0.7 / 0.3), ln(0.2 / 0.8)],
    }
    assert set(FEATURES) == set(expected)
    for name, values in expected.items():
        assert FEATURES[name](logits, labels).tolist() == pytest.approx(values, rel=1e-6), name


@pytest.mark.parametrize("name", FEATURES)
def test_features_stay_finite_and_ordered_for_very_sure_predictions(name):
    logits = torch.tensor([[90.0, 0.0, 0.0], [80.0, 0.0, 0.0], [-80.0, 0.0, 0.0], [-90.0, 0.0, 0.0]])
    scores = member_score(name, logits, ids(0, 0, 0, 0))
    assert scores.isfinite().all()
    if name in ("loss", "margin"):  # p_y = 1 in floating point must not tie
        assert scores.diff().lt(0).all()


def test_modified_entropy_of_a_sure_and_wrong_prediction_by_hand():
    # p_0 = e^-90, p_1 = 1, 1 - p_1 = 2 e^-90: -ln p_0 - ln(1 - p_1)
    logits = torch.tensor([[0.0, 90.0, 0.0]], dtype=torch.float64)
    assert FEATURES["modified_entropy"](logits, ids(0)).item() == pytest.approx(90 + 90 - math.log(2))


@pytest.mark.parametrize("name", FEATURES)
def test_a_higher_score_is_more_like_a_member(name):
    sure_and_right, unsure = torch.tensor([[6.0, 0.0, 0.0]]), torch.tensor([[0.5, 0.0, 0.0]])
    label = ids(0)
    assert member_score(name, sure_and_right, label) > member_score(name, unsure, label)


def test_auc_counts_pairs_and_half_of_ties():
    members, others = torch.tensor([3.0, 1.0, 2.0]), torch.tensor([2.0, 0.0])
    # 3 beats both, 1 beats 0, 2 ties with 2 and beats 0: (2 + 1 + 1.5) / 6
    assert auc(members, others) == pytest.approx(4.5 / 6)
    generator = torch.Generator().manual_seed(1)
    members, others = (torch.randint(0, 6, (n,), generator=generator).double() for n in (41, 23))
    pairs = [(m > o) + 0.5 * (m == o) for m in members.tolist() for o in others.tolist()]
    assert auc(members, others) == pytest.approx(sum(pairs) / len(pairs), abs=1e-15)
    assert auc(others, members) == pytest.approx(1 - auc(members, others))


def test_tpr_at_fpr_against_every_threshold():
    others = torch.tensor([5.0, 4.0, 4.0, 3.0, 2.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    members = torch.tensor([6.0, 5.0, 4.5, 4.0, 3.5, 0.0])
    assert tpr_at(members, others, 0.05) == pytest.approx(1 / 6)  # below 1/10: no false alarm, only 6 exceeds 5
    assert tpr_at(members, others, 0.1) == pytest.approx(3 / 6)  # one false alarm: all above 4
    assert tpr_at(members, others, 0.2) == pytest.approx(3 / 6)  # the tie at 4 would make three false alarms
    assert tpr_at(members, others, 0.3) == pytest.approx(5 / 6)  # three false alarms: all above 3
    hundred = torch.arange(100.0)
    assert tpr_at(hundred + 0.5, hundred, 0.29) == pytest.approx(0.3)  # .29 * 100 is below 29 in floating point
    for fpr in (0.01, 0.29, 0.3, 0.6, 0.99):
        rates = [
            ((members >= t).double().mean().item(), (others >= t).double().mean().item())
            for t in (*members, *others, torch.inf)
        ]
        assert tpr_at(members, others, fpr) == max(tpr for tpr, false in rates if false <= fpr + 1e-12)


def test_membership_names_and_values_by_hand(tiny):
    # forget set: rows 2 and 5; non-members: rows 8 and 9. p_y = .9, .3 against .5, .2
    logits = from_probabilities(*[(1 / 3, 1 / 3, 1 / 3)] * 10)
    for row, p in {2: 0.9, 5: 0.3, 8: 0.5, 9: 0.2}.items():
        logits[row] = torch.tensor([(1 - p) / 2] * 3).log()
        logits[row, tiny.labels[row]] = math.log(p)
    evidence = replace(tiny, logits=logits, split=replace(tiny.split, test_forget=ids(8, 9)))
    metric = MembershipInference(features=["loss"], fprs=[0.01, 0.5])
    assert metric(evidence) == {"mia/loss_auc": 3 / 4, "mia/loss_tpr_at_50pct": 1.0}
    assert metric.unstated(evidence) == {"mia/loss_tpr_at_1pct": (2, 100)}
    # entropies ln 2 scaled: .9 -> .394, .3 -> 1.096, .5 -> 1.040, .2 -> 1.055 nats: 2 of 4 pairs won
    assert MembershipInference(features=["entropy"], fprs=[])(evidence) == {"mia/entropy_auc": 2 / 4}


def test_memorised_forget_set_is_found_and_a_perfect_retrain_is_not():
    memorised, forgotten = (MembershipInference()(synthetic(f)) for f in (False, True))
    assert memorised["mia/loss_auc"] > 0.95
    assert memorised["mia/entropy_auc"] > 0.95
    assert memorised["mia/loss_tpr_at_1pct"] > 0.3
    for feature in ("loss", "entropy"):
        assert forgotten[f"mia/{feature}_auc"] == pytest.approx(0.5, abs=0.04)
        assert forgotten[f"mia/{feature}_tpr_at_1pct"] < 0.05


def test_unmatched_non_members_would_condemn_a_perfect_retrain():
    retrained = synthetic(forgotten=True)
    split = retrained.split
    assert torch.equal(non_members(split), split.test_forget)
    unmatched = replace(retrained, split=replace(split, test_forget=ids(), forget_classes=()))
    assert torch.equal(non_members(unmatched.split), split.test)
    assert MembershipInference()(unmatched)["mia/loss_auc"] < 0.2


def test_part_of_a_class_is_matched_too(tiny):
    assert torch.equal(non_members(replace(tiny.split, forget_classes=())), tiny.split.test_forget)


def test_a_class_without_test_samples_fails_rather_than_being_compared_with_others(tiny):
    values, failed = evaluate({"mia": MembershipInference()}, tiny)  # one non-member only
    assert values == {}
    message = (
        "ValueError: membership inference needs at least 2 members and 2 non-members, not 2 and 1: hold out samples"
    )
    assert failed["mia"].startswith(message)
    none = replace(tiny, split=replace(tiny.split, test_forget=ids()))
    assert "not 2 and 0" in evaluate({"mia": MembershipInference()}, none)[1]["mia"]


@pytest.mark.parametrize(
    ("target", "option", "value"),
    [
        (MembershipInference, "features", ["los"]),
        (MembershipInference, "fprs", [1.0]),
        (MembershipInference, "fprs", [0.0]),
        (SVCMembership, "limit", 0),
    ],
)
def test_options_have_bounds(target, option, value):
    node = {"_target_": f"{target.__module__}.{target.__name__}"}
    check(node, "evaluation.attack", {})
    with pytest.raises(UserError) as caught:
        check(node | {option: value}, "evaluation.attack", {})
    assert caught.value.key == f"evaluation.attack.{option}"


def test_entropy_logistic_calls_the_memorised_members_and_the_forgotten_not():
    assert EntropyLogistic()(synthetic(False))["mia/entropy_logistic"] > 0.9
    assert EntropyLogistic()(synthetic(True))["mia/entropy_logistic"] < 0.1


def test_svc_polarity_is_the_reverse_and_draws_are_reproducible():
    evidence = synthetic(False)
    train, no_ids = evidence.split.train, ids()
    random_tenth = replace(  # in a class scenario only test has the class, which gives it away in the full vector
        evidence.split, forget=train[::10], retain=train[train % 10 > 0], test_forget=no_ids, forget_classes=()
    )
    attack = SVCMembership(limit=200)
    memorised, forgotten = attack(replace(evidence, split=random_tenth)), attack(synthetic(True))
    names = {f"mia/svc_{n}" for n in ("correctness", "confidence", "entropy", "modified_entropy", "probability")}
    assert set(memorised) == {f"{name}_{side}" for name in names for side in ("member", "nonmember")}
    for name in names - {"mia/svc_correctness"}:
        assert memorised[f"{name}_nonmember"] < 0.2, name
        assert forgotten[f"{name}_nonmember"] > 0.8, name
    assert attack(synthetic(True)) == forgotten


def test_svc_on_correctness_by_hand(tiny):
    # All of the retain set is right and all of test wrong, so right means member; of the forget set 1 of 4 is right.
    split = replace(tiny.split, retain=ids(0, 1, 2), test=ids(3, 4, 5), forget=ids(6, 7, 8, 9))
    logits, labels = one_hot(0, 1, 2, 0, 1, 2, 0, 1, 2, 0), ids(0, 1, 2, 1, 2, 0, 0, 0, 0, 1)
    found = SVCMembership()(replace(tiny, split=split, logits=logits, labels=labels))
    assert found["mia/svc_correctness_member"] == 0.25
    assert found["mia/svc_correctness_nonmember"] == 0.75


def test_fitted_attacks_refuse_tiny_sets(tiny):
    alone = replace(tiny, split=replace(tiny.split, test=ids(7)))
    for attack in (EntropyLogistic(), SVCMembership()):
        with pytest.raises(ValueError, match="not 4 and 1"):
            attack(alone)


# The class-matched attack


def attacked(members: Tensor, others: Tensor, **options: Any) -> dict[str, float]:
    """The attack on samples of two classes with these losses; half of each set is of class 0."""
    losses = torch.cat([members, others]).double()
    labels = torch.arange(len(losses)) % 2
    logits = torch.zeros(len(losses), 2).double()
    excess = losses + torch.log(-torch.expm1(-losses))  # m = ln(exp(loss) - 1), since the loss is ln(1 + exp(m))
    logits[torch.arange(len(losses)), 1 - labels] = excess
    rows = torch.arange(len(losses))
    forget, test = rows[: len(members)], rows[len(members) :]
    split = Split(forget, forget, rows[:0], rows[:0], test, rows[:0], test)
    return MatchedLossAttack(**options)(Evidence(logits, labels, split, ("a", "b")))


def test_a_matched_attack_tells_apart_what_differs_and_guesses_where_nothing_does() -> None:
    low, high = torch.full((40,), 0.1), torch.full((40,), 3.0)
    assert attacked(low, high) == {"mia/matched_loss_acc": 1, "mia/matched_loss_acc_sd": 0}
    assert attacked(low, low)["mia/matched_loss_acc"] == 0.5  # 4 of each are judged, and all are called alike
    above = torch.full((40,), 150.0)
    assert attacked(above, 2 * above)["mia/matched_loss_acc"] == 0.5  # both are clipped to 100
    assert attacked(above, 2 * above, clip=500.0)["mia/matched_loss_acc"] == 1


def test_the_spread_of_a_matched_attack_is_over_its_shuffles() -> None:
    generator = torch.Generator().manual_seed(0)
    sets = [torch.rand(40, generator=generator) + shift for shift in (0.1, 0.5)]
    found = attacked(*sets)
    assert 0.5 < found["mia/matched_loss_acc"] < 1
    assert found["mia/matched_loss_acc_sd"] > 0
    once = attacked(*sets, shuffles=1)
    assert once["mia/matched_loss_acc_sd"] == 0
    assert (8 * once["mia/matched_loss_acc"]).is_integer()  # a tenth of 80 samples is judged
    assert attacked(*sets, seed=1) != found
    assert attacked(*sets) == found


def test_every_class_has_as_many_members_as_non_members() -> None:
    labels = torch.tensor([0, 0, 0, 0, 1, 2, 0, 1, 1, 1, 3])
    members, others = class_matched(labels, torch.arange(6), torch.arange(6, 11), seed=0)
    assert labels[members].tolist() == labels[others].tolist() == [0, 1]  # class 2 has no non-member
    assert members.max() < 6 <= others.min()
    fewer = class_matched(torch.tensor([0] * 8 + [1] * 8), torch.arange(0, 16, 2), torch.arange(1, 16, 2), 0, limit=4)
    assert [(ids < 8).sum().item() for ids in fewer] == [2, 2]
    assert [len(ids) for ids in fewer] == [4, 4]


def test_a_matched_attack_needs_two_of_each() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        attacked(torch.ones(1), torch.ones(5))
    assert attacked(torch.ones(2), torch.ones(2))["mia/matched_loss_acc"] == 0.5
