import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from unlearning.errors import UserError
from unlearning.metrics.accuracy import Accuracy, ClassAccuracy, RelativeUnlearningAccuracy
from unlearning.metrics.base import Evidence, Metric, directions_of, evaluate, gaps
from unlearning.metrics.distance import Distance
from unlearning.metrics.membership import FEATURES, MembershipInference, auc, member_score, non_members, tpr_at
from unlearning.metrics.membership_classifiers import EntropyLogistic, SVCMembership
from unlearning.metrics.noise_curve import EntropyAgainstNoise
from unlearning.metrics.zrf import ZeroRetrainForgetting
from unlearning.report.summary_figure import noise_figure, summary_figure
from unlearning.types import Split

METRICS = {"accuracy": Accuracy(), "classes": ClassAccuracy(), "distance": Distance(), "mia": MembershipInference()}


def ids(*numbers: int) -> Tensor:
    return torch.tensor(numbers, dtype=torch.long)


def from_probabilities(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).log().float()


def one_hot(*classes: int, count: int = 3) -> Tensor:
    """Logits that predict the given classes."""
    return torch.eye(count)[list(classes)] * 4


@pytest.fixture
def tiny() -> Evidence:
    """Ten samples of three classes; class 2 is forgotten; rows 0-5 train, 6 validation, 7-9 test."""
    split = Split(
        train=ids(0, 1, 2, 3, 4, 5),
        forget=ids(2, 5),
        retain=ids(0, 1, 3, 4),
        validation=ids(6),
        test=ids(7, 8, 9),
        test_forget=ids(9),
        test_retain=ids(7, 8),
        forget_classes=(2,),
    )
    labels = ids(0, 1, 2, 0, 1, 2, 0, 0, 1, 2)
    predicted = one_hot(0, 1, 2, 0, 0, 1, 0, 0, 0, 0)  # wrong on 4, 5, 8 and 9
    return Evidence(predicted, labels, split, ("cat", "dog", "ship"), retrained=one_hot(*[0] * 10))


def synthetic(forgotten: bool, classes: int = 4, size: int = 4000) -> Evidence:
    """A model of many samples that knows nothing of class 0 (``forgotten``) or has memorised all of train."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(size) % classes
    rows = torch.arange(size)
    train, test, of_class = rows[: size // 2], rows[size // 2 :], labels == 0
    split = Split(
        train=train,
        forget=train[of_class[train]],
        retain=train[~of_class[train]],
        validation=rows[:0],
        test=test,
        test_forget=test[of_class[test]],
        test_retain=test[~of_class[test]],
        forget_classes=(0,),
    )
    strength = torch.where(rows < size // 2, 7.0, 3.0)
    if forgotten:
        strength[of_class] = -3
    logits = torch.randn(size, classes, generator=generator)
    logits[rows, labels] += strength
    return Evidence(logits, labels, split, tuple("abcdefgh"[:classes]))


# accuracy


def test_accuracy_by_hand(tiny):
    assert Accuracy()(tiny) == pytest.approx(
        {
            "forget/acc": 1 / 2,
            "forget/ua": 1 / 2,
            "retain/acc": 3 / 4,
            "val/acc": 1,
            "test/acc": 1 / 3,
            "test_forget/acc": 0,
            "test_retain/acc": 1 / 2,
        }
    )


def test_unlearning_accuracy_is_the_share_of_the_forget_set_got_wrong(tiny):
    found = Accuracy()(replace(tiny, split=replace(tiny.split, forget=ids(1, 2, 5))))
    assert found["forget/ua"] == pytest.approx(1 / 3)


def test_relative_unlearning_accuracy_is_above_zero_where_too_little_is_forgotten(tiny):
    # of the forget set {2, 5} the model gets sample 2 right; the retrained model, which says 0 to all, neither
    metric = RelativeUnlearningAccuracy()
    assert metric(tiny) == {"forget/rua": 0.5}
    assert metric(replace(tiny, logits=tiny.retrained)) == {"forget/rua": 0}
    assert metric(replace(tiny, logits=tiny.retrained, retrained=tiny.logits)) == {"forget/rua": -0.5}


def test_an_empty_set_gives_no_number(tiny):
    empty = replace(tiny, split=replace(tiny.split, validation=ids(), test_forget=ids(), forget=ids()))
    assert set(Accuracy()(empty)) == {"retain/acc", "test/acc", "test_retain/acc"}


def test_class_accuracy_by_hand_leaves_out_classes_without_test_samples(tiny):
    assert ClassAccuracy()(tiny) == {"class_acc/cat": 1, "class_acc/dog": 0, "class_acc/ship": 0}
    without = replace(tiny, split=replace(tiny.split, test=ids(7, 8)))
    assert ClassAccuracy()(without) == {"class_acc/cat": 1, "class_acc/dog": 0}
    without = replace(tiny, split=replace(tiny.split, test=ids()))
    assert ClassAccuracy()(without) == {}


# distance to the retrained model


def test_distance_by_hand(tiny):
    half, quarter = (0.5, 0.5, 1e-12), (0.25, 0.75, 1e-12)
    logits = from_probabilities(*[half] * 10)
    logits[5] += torch.tensor([1e-3, 0, 0])  # the larger of two halves
    retrained = from_probabilities(*[half] * 5, quarter, *[half] * 4)  # differs on row 5 of the forget set alone
    found = Distance()(replace(tiny, logits=logits, retrained=retrained))
    js = (0.5 * math.log(4 / 3) + 0.5 * math.log(4 / 5) + 0.25 * math.log(2 / 3) + 0.75 * math.log(6 / 5)) / 2
    assert found == pytest.approx(
        {
            "distance/js_forget": js / 2,
            "distance/activation_forget": math.hypot(0.25, 0.25) / 2,
            "distance/fidelity_forget": 1 / 2,
            "distance/js_test": 0,
            "distance/activation_test": 0,
        },
        abs=2e-4,
    )


def test_distance_of_disjoint_predictions_is_ln_2_and_root_2(tiny):
    logits, retrained = torch.full((10, 3), -300.0), torch.full((10, 3), -300.0)
    logits[:, 0], retrained[:, 1] = 300, 300
    found = Distance()(replace(tiny, logits=logits, retrained=retrained))
    assert found["distance/js_test"] == pytest.approx(math.log(2))
    assert found["distance/activation_test"] == pytest.approx(math.sqrt(2))
    assert found["distance/fidelity_forget"] == 0


# membership inference


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
    found = MembershipInference(features=["loss"], fprs=[0.01, 0.001, 0.5])(evidence)
    assert found == {
        "mia/loss_auc": 3 / 4,
        "mia/loss_tpr_at_1pct": 1 / 2,
        "mia/loss_tpr_at_0.1pct": 1 / 2,
        "mia/loss_tpr_at_50pct": 1.0,
    }
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
    assert failed["mia"] == "ValueError: membership inference needs at least 2 members and 2 non-members, not 2 and 1"
    none = replace(tiny, split=replace(tiny.split, test_forget=ids()))
    assert "not 2 and 0" in evaluate({"mia": MembershipInference()}, none)[1]["mia"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": ["los"]}, "has no feature 'los': did you mean loss"),
        ({"fprs": [1]}, "must lie between 0 and 1, such as 0.01, not 1"),
        ({"fprs": [0]}, "must lie between 0 and 1"),
    ],
)
def test_bad_arguments_are_the_users_to_mend(arguments, message):
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        MembershipInference(**arguments)


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


# all of them together


def test_consistent_renumbering_changes_nothing_and_misaligned_rows_do():
    evidence = synthetic(False)
    size = len(evidence.labels)
    evidence = replace(evidence, retrained=synthetic(True).logits)
    before, _ = evaluate(METRICS, evidence)

    row_of_new = torch.randperm(size, generator=torch.Generator().manual_seed(3))  # new id -> old id
    new_of_old = row_of_new.argsort()
    sets = {name: new_of_old[old].sort().values for name, old in evidence.split.sets.items()}
    renumbered = Evidence(
        evidence.logits[row_of_new],
        evidence.labels[row_of_new],
        replace(evidence.split, **sets),
        evidence.classes,
        retrained=evidence.retrained[row_of_new],
    )
    after, failed = evaluate(METRICS, renumbered)
    assert not failed
    assert after == pytest.approx(before, abs=1e-12)

    misaligned, _ = evaluate(METRICS, evidence.of(evidence.logits[row_of_new]))
    same = {name for name in before if misaligned[name] == pytest.approx(before[name], abs=0.01)}
    assert not {"forget/acc", "retain/acc", "test/acc", "mia/loss_auc", "distance/js_forget"} & same


def test_every_number_has_a_direction():
    evidence = synthetic(True)
    values, failed = evaluate(METRICS, replace(evidence, retrained=evidence.logits))
    assert not failed
    directions = directions_of(METRICS, list(values))
    assert (
        directions["forget/acc"]
        == directions["test/acc"]
        == directions["mia/loss_tpr_at_1pct"]
        == directions["class_acc/a"]
        == "to-retrained"
    )
    assert directions["test_retain/acc"] == directions["distance/fidelity_forget"] == "up"
    assert directions["distance/js_test"] == directions["distance/activation_forget"] == "down"
    assert values["distance/js_forget"] == pytest.approx(0, abs=1e-12)
    assert values["distance/fidelity_forget"] == 1


def test_metrics_of_the_retrained_model_are_left_out_without_one(tiny):
    values, failed = evaluate({"accuracy": Accuracy(), "distance": Distance()}, replace(tiny, retrained=None))
    assert not failed
    assert not [name for name in values if name.startswith("distance")]
    assert "test/acc" in values


def test_logits_that_are_not_finite_fail_and_are_never_scored(tiny):
    collapsed = tiny.logits.clone()
    collapsed[3:5, 1] = torch.nan  # argmax would call both class 1
    values, failed = evaluate({"accuracy": Accuracy(), "distance": Distance()}, tiny.of(collapsed))
    assert values == {}
    assert failed["accuracy"] == "ValueError: the logits of 2 of 10 samples are not finite"
    unused = torch.cat((tiny.logits, torch.full((1, 3), torch.nan)))  # a row of no set is nobody's business
    assert not evaluate({"accuracy": Accuracy()}, replace(tiny, logits=unused, labels=ids(*tiny.labels, 0)))[1]


def test_a_failing_metric_fails_alone(tiny):
    class Undeclared(Metric):
        directions = {"other": "up"}

        def __call__(self, evidence: Evidence) -> dict[str, float]:
            return {"surprise": 1.0}

    values, failed = evaluate({"odd": Undeclared(), "accuracy": Accuracy()}, tiny)
    assert failed == {"odd": "ValueError: no direction declared for surprise"}
    assert values["retain/acc"] == 3 / 4


def test_gaps_are_signed_and_their_mean_absolute():
    metrics = {"accuracy": Accuracy(), "membership": MembershipInference(), "distance": Distance()}
    ours = {"forget/acc": 0.3, "retain/acc": 0.9, "test/acc": 0.8, "mia/loss_auc": 0.6, "distance/js_test": 0.1}
    theirs = {"forget/acc": 0.1, "retain/acc": 1.0, "test/acc": 0.9, "mia/loss_auc": 0.5, "distance/js_test": 0.0}
    assert gaps(metrics, ours, theirs) == pytest.approx(
        {
            "gap/forget/acc": 0.2,
            "gap/retain/acc": -0.1,
            "gap/test/acc": -0.1,
            "gap/mia/loss_auc": 0.1,
            "gap/mean": 0.5 / 4,
        }
    )


def test_the_average_gap_with_the_svc_attack_by_hand():
    metrics = {"accuracy": Accuracy(), "membership": MembershipInference(), "svc": SVCMembership()}
    ours = {"forget/acc": 0.3, "retain/acc": 0.9, "test/acc": 0.8, "mia/loss_auc": 0.6}
    theirs = {"forget/acc": 0.1, "retain/acc": 1.0, "test/acc": 0.9, "mia/loss_auc": 0.5}
    attack = "mia/svc_entropy_nonmember"
    found = gaps(metrics, ours | {attack: 0.2}, theirs | {attack: 0.6})
    assert found["gap/mean_svc"] == pytest.approx((0.2 + 0.1 + 0.1 + 0.4) / 4)
    assert found["gap/mean"] == pytest.approx((0.2 + 0.1 + 0.1 + 0.1) / 4)
    assert "gap/mean_svc" not in gaps(metrics, ours, theirs)  # the attack failed


# the figure


def test_figure_shows_the_numbers_and_marks_the_forgotten_class(tmp_path):
    original, retrained = synthetic(False), synthetic(True)
    figure = summary_figure({"unlearned": retrained, "original": original, "retrained": retrained})
    sets, classes, *margins = figure.axes
    assert [bar.get_label() for bar in sets.containers] == ["original", "retrained", "unlearned"]
    heights = [bar.get_height() for bar in sets.containers[1]]
    accuracy = Accuracy()(retrained)
    assert heights == [accuracy["forget/acc"], accuracy["retain/acc"], accuracy["test/acc"]]
    assert [t.get_text() for t in classes.get_xticklabels() if t.get_fontweight() == "bold"] == ["a"]
    found = MembershipInference()(retrained)["mia/loss_auc"]
    assert [panel.texts[0].get_text() for panel in margins] == [
        f"retrained\nAUC {found:.2f}",
        f"unlearned\nAUC {found:.2f}",
    ]
    figure.savefig(tmp_path / "summary.png", dpi=30)
    assert (tmp_path / "summary.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.filterwarnings("error")
def test_figure_leaves_a_gap_for_a_collapsed_model_and_stands_a_single_row():
    evidence = synthetic(False)
    collapsed = summary_figure({"original": evidence, "unlearned": evidence.of(evidence.logits * torch.nan)})
    assert [bar.get_height() for bar in collapsed.axes[0].containers[1]] == pytest.approx([math.nan] * 3, nan_ok=True)
    assert collapsed.axes[-1].texts[0].get_text() == "unlearned: nothing to compare"
    constant = summary_figure({"unlearned": evidence.of(torch.zeros_like(evidence.logits))})
    assert constant.axes[-1].texts[0].get_text() == "unlearned\nAUC 0.50"


# Zero retrain forgetting and the curve of noise


def test_zrf_by_hand(tiny: Evidence) -> None:
    # Forget rows 2 and 5. JS of equals is 0; of (1, 0) and (1/2, 1/2), with the mean (3/4, 1/4), it is
    # (ln(4/3) + (1/2) ln(2/3) + (1/2) ln 2) / 2 = .21576. So 1 - .10788.
    logits = from_probabilities(*[(1.0, 0.0)] * 10).clamp_min(-1e4)
    logits[2] = 0.0
    found = ZeroRetrainForgetting()(replace(tiny, logits=logits, untrained=torch.zeros(10, 2)))
    assert found == {"zrf/forget": pytest.approx(1 - 0.21576 / 2, abs=1e-5)}


def test_zrf_of_opposites_is_one_minus_ln_2(tiny: Evidence) -> None:
    surely = torch.tensor([[99.0, -99.0]]).repeat(10, 1)
    found = ZeroRetrainForgetting()(replace(tiny, logits=surely, untrained=-surely))
    assert found["zrf/forget"] == pytest.approx(1 - math.log(2))


class Steep(nn.Module):
    """Logits (0, s x) of an image of one pixel x: its entropy is that of a coin with log odds s x."""

    def __init__(self, s: float) -> None:
        super().__init__()
        self.s = nn.Parameter(torch.tensor([0.0, s]))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) * self.s


def test_entropy_against_noise(tiny: Evidence) -> None:
    def coin(odds: float) -> float:
        p = 1 / (1 + math.exp(-odds))
        return -p * math.log(p) - (1 - p) * math.log(1 - p)

    pixels = torch.zeros(10, 1, 1, 1)
    pixels[2], pixels[5] = 1.0, -2.0  # the forget set; the others are a coin's ln 2
    metric = EntropyAgainstNoise(sigmas=[0, 50])
    found = metric(replace(tiny, model=Steep(1.5), images=lambda ids: pixels[ids]))
    assert found["noise/entropy_0"] == pytest.approx((coin(1.5) + coin(-3)) / 2)
    # Under much noise every pixel is one end of the range, 1 or -2.
    ends = [(coin(a) + coin(b)) / 2 for a in (1.5, -3) for b in (1.5, -3)]
    assert any(found["noise/entropy_50"] == pytest.approx(end) for end in ends)
    again = metric(replace(tiny, model=Steep(1.5), images=lambda ids: pixels[ids]))
    assert again == found  # the noise is the same for every model


def test_the_curve_of_noise_is_drawn_only_where_it_was_measured() -> None:
    assert noise_figure({"original": {"forget/acc": 1.0}}) is None
    rows = {"original": {"noise/entropy_10": 0.5, "noise/entropy_0": 0.1, "noise/entropy_2": 0.2}, "unlearned": {}}
    first, second = noise_figure(rows).axes[0].lines
    assert first.get_xydata().tolist() == [[0, 0.1], [2, 0.2], [10, 0.5]]
    assert len(second.get_xydata()) == 0  # it failed for this model
