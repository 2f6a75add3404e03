"""Probes of features, against answers that are known: by hand, and from the distributions that features come from."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.predictions import ids, synthetic, ten_samples
from unlearning.metrics.base import Evidence, evaluate
from unlearning.metrics.feature_probes import FeatureProbes, voted
from unlearning.metrics.features import Features


def featured(values: Tensor, evidence: Evidence) -> Evidence:
    """The evidence with these features (N, D) of all samples."""
    return replace(evidence, features=Features(torch.arange(len(values)), values.float()))


def drawn(evidence: Evidence, *shape: int, seed: int = 0) -> Tensor:
    """Normal numbers (N, *shape)."""
    return torch.randn(len(evidence.labels), *shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def many() -> Evidence:
    """4000 samples of four classes, of which class 0 is forgotten; half of them are test."""
    return synthetic(forgotten=True)


def test_features_that_tell_the_classes_are_read_whatever_the_logits_say(many: Evidence) -> None:
    apart = featured(torch.eye(4)[many.labels] * 9 + drawn(many, 4), many)
    found = FeatureProbes()(apart)
    assert all(value > 0.99 for name, value in found.items() if name != "probe/silhouette")
    assert set(found) == {f"probe/{kind}_{part}" for kind in ("linear", "knn") for part in ("forget", "retain")} | {
        *("probe/linear_test_forget", "probe/knn_test_forget", "probe/silhouette")
    }
    assert found == FeatureProbes()(replace(apart, logits=-apart.logits))


def test_features_that_know_nothing_are_at_chance(many: Evidence) -> None:
    """Each half holds 250 samples of the forgotten class: one standard deviation is .027."""
    found = FeatureProbes()(featured(drawn(many, 3), many))
    assert found["probe/linear_retain"] == pytest.approx(0.25, abs=0.06)
    assert found["probe/knn_retain"] == pytest.approx(0.25, abs=0.06)
    assert found["probe/knn_forget"] < 0.5  # the first of classes with as many votes, which is the forgotten one
    assert found["probe/silhouette"] == pytest.approx(0, abs=0.1)


def test_the_linear_probe_is_as_good_as_the_distributions_allow(many: Evidence) -> None:
    """Of two normal classes at a distance d with unit variance, Phi(d / 2) can be told."""
    labels = (many.labels == 0).long()
    split = replace(many.split, retain=many.split.retain[::3])  # as many as there are to forget
    for distance in (1.0, 2.0):
        values = drawn(many, 2)
        values[:, 0] += distance * labels
        found = FeatureProbes()(featured(values, replace(many, labels=labels, split=split)))
        best = torch.special.ndtr(torch.tensor(distance / 2)).item()
        told = [found[f"probe/linear_{part}"] for part in ("forget", "retain")]
        assert np.mean(told) == pytest.approx(best, abs=0.04)


def test_a_forgotten_class_among_another_is_told_half_of_the_time(many: Evidence) -> None:
    labels = many.labels.clamp(min=1)  # class 0 looks like class 1
    found = FeatureProbes(neighbours=25)(featured(torch.eye(4)[labels] * 9 + drawn(many, 4), many))
    for kind in ("linear", "knn"):
        assert found[f"probe/{kind}_forget"] == pytest.approx(0.5, abs=0.12)
        assert found[f"probe/{kind}_retain"] == pytest.approx((0.5 + 1 + 1) / 3, abs=0.05)


def test_judged_samples_are_not_those_that_the_probe_has_seen(many: Evidence) -> None:
    """With labels drawn at random, a nearest neighbour that is the sample itself would be right."""
    labels = torch.randint(0, 4, (4000,), generator=torch.Generator().manual_seed(1))
    found = FeatureProbes(neighbours=1)(featured(drawn(many, 30), replace(many, labels=labels)))
    assert found["probe/knn_forget"] < 0.4
    forget, judged = FeatureProbes().halves(ids(*range(7)))
    assert sorted([*forget.tolist(), *judged.tolist()]) == list(range(7))
    assert len(forget) == 4


def test_neighbours_vote_by_the_angle_and_the_first_class_wins_a_tie() -> None:
    values = torch.tensor([[1.0, 0.0], [9.0, 1.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.5], [5.0, 0.1]])
    features, known, labels = Features(torch.arange(6), values), ids(0, 1, 2, 3), ids(2, 0, 1, 1)
    for neighbours, expected in {1: [1, 2], 2: [1, 0], 3: [1, 0]}.items():
        # (0, .5) is nearest to 2, then 3, then 1; (5, .1) to 0, 1, 3: of one vote each the first class
        assert voted(features, known, labels, ids(4, 5), neighbours).tolist() == expected


def test_the_silhouette_by_hand() -> None:
    asked = ten_samples()  # forget 2 and 5 of class 2; retain 0 and 3 of class 0, 1 and 4 of class 1
    values = torch.tensor([0.0, 10.0, 2.0, 1.0, 10.0, 5.0, 0, 0, 0, 0]).unsqueeze(1)
    # of 2: a = 3, b = min(mean(2, 1), 8) = 1.5, so -1/2; of 5: a = 3, b = min(mean(5, 4), 5) = 4.5, so 1/3
    found = FeatureProbes(neighbours=1)(featured(values, asked))
    assert found["probe/silhouette"] == pytest.approx((-1 / 2 + 1 / 3) / 2)


def test_what_probes_need_and_refuse() -> None:
    asked, probes = ten_samples(), FeatureProbes()
    assert not probes.applies_to(asked)
    one = featured(drawn(asked, 2), replace(asked, split=replace(asked.split, forget=ids(2))))
    assert "not 1" in evaluate({"probes": probes}, one)[1]["probes"]
    alike = replace(featured(drawn(asked, 2), asked), labels=torch.zeros(10, dtype=torch.long))
    assert "one class" in evaluate({"probes": probes}, alike)[1]["probes"]
