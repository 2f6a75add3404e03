"""Intervals of attacks by simulation, and fitted attacks on predictions whose answer is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from tests.predictions import synthetic
from unlearning.metrics.base import Evidence
from unlearning.metrics.bootstrap import MembershipIntervals, resampled
from unlearning.metrics.fitted_attacks import INPUTS, FittedAttacks, held_out
from unlearning.metrics.membership import MembershipInference, auc, can_show, tpr_at
from unlearning.metrics.relearning import Relearning
from unlearning.types import Split


def of_margins(members: Tensor, others: Tensor, classes: int = 2) -> Evidence:
    """Predictions with these margins of the labels, which take turns; the other classes are alike."""
    margins = torch.cat([members, others]).double()
    rows = torch.arange(len(margins))
    labels = rows % classes
    logits = torch.zeros(len(margins), classes, dtype=torch.float64)
    logits[rows, labels] = margins + math.log(classes - 1)
    forget, test, none = rows[: len(members)], rows[len(members) :], rows[:0]
    return Evidence(logits, labels, Split(forget, forget, none, none, test, none, test), tuple("abcdef"[:classes]))


# Intervals


def test_an_interval_by_hand() -> None:
    """One member above one of two non-members: in a draw the pair of non-members decides alone."""
    members, others = torch.tensor([1.0, 1.0]), torch.tensor([0.0, 2.0])
    draws = resampled(members, others, [0.5], 1000, seed=0)
    assert set(draws[:, 0].tolist()) == {0.0, 0.5, 1.0}  # (2, 2), (0, 2) and (0, 0)
    assert draws[:, 0].eq(0.5).double().mean().item() == pytest.approx(0.5, abs=0.05)
    # with one false alarm allowed, the threshold is the second highest: 2, 0 and 0
    assert draws[:, 1].double().mean().item() == pytest.approx(0.75, abs=0.05)


def test_intervals_hold_their_numbers_and_stay_in_bounds() -> None:
    for forgotten in (False, True):
        evidence = synthetic(forgotten)
        values = MembershipInference(fprs=[0.01, 0.001])(evidence)
        found = MembershipIntervals(resamples=40)(evidence)
        for name, value in values.items():
            assert 0 <= found[f"{name}_low"] <= value <= found[f"{name}_high"] <= 1
        width = found["mia/loss_auc_high"] - found["mia/loss_auc_low"]
        assert 0 < width < 0.15
        assert MembershipIntervals(resamples=40, level=0.5)(evidence)["mia/loss_auc_low"] > found["mia/loss_auc_low"]


@pytest.mark.parametrize(("others", "names"), [(99, 2), (100, 5), (999, 5), (1000, 8)])
def test_a_rate_has_a_smallest_population(others: int, names: int) -> None:
    generator = torch.Generator().manual_seed(0)
    evidence = of_margins(torch.randn(50, generator=generator), torch.randn(others, generator=generator))
    assert len(MembershipIntervals(["loss"], resamples=3)(evidence)) == names
    assert can_show(0.01, others) == (others >= 100)
    assert can_show(0.001, others) == (others >= 1000)
    numbers = MembershipInference(["loss"], [0.01, 0.001])
    missing = numbers.unstated(evidence)
    assert numbers(evidence).keys() | missing.keys() == {
        *("mia/loss_auc", "mia/loss_tpr_at_1pct", "mia/loss_tpr_at_0.1pct")
    }
    assert len(missing) == (8 - names) // 3
    assert missing.items() <= {"mia/loss_tpr_at_1pct": (others, 100), "mia/loss_tpr_at_0.1pct": (others, 1000)}.items()


@pytest.mark.slow
def test_the_coverage_of_an_interval_is_its_level() -> None:
    """Scores of two normal distributions a distance of 1 apart have an AUC of Phi(1 / sqrt 2) = .760."""
    generator, truth, trials = torch.Generator().manual_seed(0), 0.5 * (1 + math.erf(0.5)), 400
    held = 0
    for seed in range(trials):
        members, others = torch.randn(60, generator=generator) + 1, torch.randn(80, generator=generator)
        low, high = np.quantile(resampled(members, others, [], 200, seed)[:, 0], [0.025, 0.975])
        held += low <= truth <= high
    assert held / trials == pytest.approx(0.95, abs=0.03)  # whose standard error is .011


# Fitted attacks


def test_who_memorised_is_found_and_who_did_not_is_not() -> None:
    generator = torch.Generator().manual_seed(1)
    high, low, same = (torch.randn(60, generator=generator) + shift for shift in (9, 0, 0))
    found = FittedAttacks()(of_margins(high, low))
    names = {
        *(f"attack/{attacker}_{name}_auc" for attacker in ("logistic", "svc") for name in INPUTS),
        *(f"attack/threshold_{name}_auc" for name in ("loss", "entropy", "modified_entropy")),
    }
    assert found.keys() == names | {f"{name}{end}" for name in names for end in ("_low", "_high")}
    by_loss = [found[name] for name in names if "entropy" not in name and "probability" not in name]
    assert min(by_loss) > 0.99
    alike = FittedAttacks(resamples=9)(of_margins(same, low))
    assert np.mean([alike[name] for name in names]) == pytest.approx(0.5, abs=0.1)
    missing = FittedAttacks(["loss"], ["svc"]).unstated(of_margins(same, low))
    assert missing.keys() == {f"attack/*_tpr_at_{rate}pct" for rate in ("1", "0.1")}  # of 60 non-members


def test_rates_and_intervals_of_fitted_attacks_belong_to_their_scores() -> None:
    """A threshold on the margin of a logistic regression: what it gives the samples has their order, fold by fold."""
    generator = torch.Generator().manual_seed(2)
    members, others = (torch.randn(200, generator=generator) + shift for shift in (1, 0))
    evidence = of_margins(members, others)
    found = FittedAttacks(["loss"], ["threshold", "logistic"], resamples=50)(evidence)
    start = "attack/threshold_loss"
    assert found[f"{start}_auc"] == pytest.approx(auc(members.double(), others.double()))
    assert found[f"{start}_tpr_at_1pct"] == tpr_at(members, others, 0.01)
    for start in ("attack/threshold_loss", "attack/logistic_loss"):
        for what in ("auc", "tpr_at_1pct"):
            assert found[f"{start}_{what}_low"] <= found[f"{start}_{what}"] <= found[f"{start}_{what}_high"]
        assert found[f"{start}_auc_low"] < 0.7602 < found[f"{start}_auc_high"]  # Phi(1 / sqrt 2)


class Doubled(BaseEstimator):
    """A classifier whose scores are its input, in another unit for each fit."""

    fits = 0

    def fit(self, values: np.ndarray, known: np.ndarray) -> "Doubled":
        Doubled.fits += 1
        self.unit_ = 10.0**self.fits
        return self

    def decision_function(self, values: np.ndarray) -> np.ndarray:
        return self.unit_ * (values[:, 0] + 3)


def test_scores_of_all_fits_have_one_unit() -> None:
    values = np.array([[5.0], [1.0], [9.0], [1.0], [3.0], [1.0], [3.0], [2.0]])
    known, fold = np.arange(8) < 4, np.array([0, 0, 1, 1, 0, 0, 1, 1])
    found = held_out(Doubled, values, known, fold)
    # each fold is judged in units of the other's non-members: {3, 2} with deviation .5, and {3, 1} with deviation 1
    expected = [
        (v - mean) / sd for v, (mean, sd) in zip(values[:, 0], [((2.5, 0.5), (2, 1))[f] for f in fold], strict=True)
    ]
    assert found.tolist() == pytest.approx(expected)


def test_a_classifier_finds_what_looks_less_familiar_too() -> None:
    generator = torch.Generator().manual_seed(1)
    low, high = (torch.randn(80, generator=generator) + shift for shift in (-3, 3))
    found = FittedAttacks(["loss", "margin"])(of_margins(low, high))
    assert found["attack/threshold_loss_auc"] < 0.01
    assert found["attack/logistic_margin_auc"] > 0.99
    around = torch.cat([high[:40], low[:40]])  # members on both sides of the others, which no threshold parts
    both = FittedAttacks(["loss", "margin"])(of_margins(around, torch.randn(80, generator=generator) / 9))
    assert both["attack/svc_margin_auc"] > 0.95 > 0.8 > both["attack/threshold_loss_auc"]


def test_the_class_alone_gives_nothing_away() -> None:
    """Of the first class there are ten times as many members: the probabilities tell the class, and it is matched."""
    evidence = of_margins(torch.full((220,), 3.0), torch.full((110,), 3.0))
    split = evidence.split
    kept = split.forget[(evidence.labels[split.forget] == 0) | (split.forget < 22)]
    found = FittedAttacks()(replace(evidence, split=replace(split, forget=kept)))
    assert {value for name, value in found.items() if name.endswith("_auc")} == {0.5}


def test_too_few_members_fail() -> None:
    with pytest.raises(ValueError, match="fewer than 5 folds"):
        FittedAttacks()(of_margins(torch.ones(4), torch.ones(9)))


# The anamnesis index


def test_the_anamnesis_index_is_the_ratio_of_steps() -> None:
    metric = Relearning()
    assert metric.relative({"relearn/steps": 3.0}, {"relearn/steps": 12.0}) == {"relearn/anamnesis": 0.25}
    assert metric.relative({"relearn/steps": 0.0}, {"relearn/steps": 12.0}) == {"relearn/anamnesis": 0}
    assert metric.relative({"relearn/steps": 3.0}, {"relearn/steps": 0.0}) == {}  # it would be infinite
    assert metric.relative({}, {"relearn/steps": 3.0}) == {}  # this model's metric failed
