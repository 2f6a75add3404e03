"""Accuracy, distances, curves and gaps against values derived by hand."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.predictions import from_probabilities, ids, synthetic, ten_samples
from unlearning.config.validation import check
from unlearning.errors import UserError
from unlearning.metrics.accuracy import Accuracy, ClassAccuracy, RelativeUnlearningAccuracy
from unlearning.metrics.backdoor import BackdoorAttack
from unlearning.metrics.base import Evidence, Metric, directions_of, evaluate, gaps
from unlearning.metrics.corrective import Correction
from unlearning.metrics.distance import Distance
from unlearning.metrics.membership import MembershipInference
from unlearning.metrics.membership_classifiers import SVCMembership
from unlearning.metrics.noise_curve import EntropyAgainstNoise
from unlearning.metrics.zrf import ZeroRetrainForgetting

METRICS = {"accuracy": Accuracy(), "classes": ClassAccuracy(), "distance": Distance(), "mia": MembershipInference()}


@pytest.fixture
def tiny() -> Evidence:
    return ten_samples()


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
    assert ClassAccuracy(["forget", "retain"])(tiny) == {
        "forget/class_acc/ship": 1 / 2,
        "retain/class_acc/cat": 1,
        "retain/class_acc/dog": 1 / 2,
    }


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
            "distance/retrain": 0,
            "distance/js_forget": js / 2,
            "distance/activation_forget": math.hypot(0.25, 0.25) / 2,
            "distance/fidelity_forget": 1 / 2,
            "distance/js_test": 0,
            "distance/activation_test": 0,
        },
        abs=2e-4,
    )


def test_distance_to_retrain_by_hand(tiny):
    # retain: 3 of 4 right and 2 of 4 for the retrained model, which says 0 to all; forget: 1 of 2 and none
    assert Distance()(tiny)["distance/retrain"] == pytest.approx(math.hypot(3 / 4 - 2 / 4, 1 / 2))
    without = replace(tiny, split=replace(tiny.split, forget=ids()))
    assert "distance/retrain" not in Distance()(without)


def test_distance_of_disjoint_predictions_is_ln_2_and_root_2(tiny):
    logits, retrained = torch.full((10, 3), -300.0), torch.full((10, 3), -300.0)
    logits[:, 0], retrained[:, 1] = 300, 300
    found = Distance()(replace(tiny, logits=logits, retrained=retrained))
    assert found["distance/js_test"] == pytest.approx(math.log(2))
    assert found["distance/activation_test"] == pytest.approx(math.sqrt(2))
    assert found["distance/fidelity_forget"] == 0


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


def test_a_metric_is_left_out_without_what_it_needs(tiny):
    metrics = {
        "rua": RelativeUnlearningAccuracy(),
        "zrf": ZeroRetrainForgetting(),
        "backdoor": BackdoorAttack(),
        "correction": Correction(),
    }
    assert evaluate(metrics, replace(tiny, retrained=None)) == ({}, {})
    assert set(evaluate(metrics, replace(tiny, untrained=tiny.logits))[0]) == {"forget/rua", "zrf/forget"}


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


@pytest.mark.parametrize(("option", "value"), [("sigmas", [-0.5]), ("noise", "pink")])
def test_options_of_the_noise_have_bounds(option, value):
    node = {"_target_": "unlearning.metrics.noise_curve.EntropyAgainstNoise", "sigmas": [0.0]}
    check(node, "evaluation.noise_curve", {})
    with pytest.raises(UserError) as caught:
        check(node | {option: value}, "evaluation.noise_curve", {})
    assert caught.value.key == f"evaluation.noise_curve.{option}"
