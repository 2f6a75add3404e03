"""Whether a forgotten class shows in the probabilities of the others: against values that are known."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.predictions import from_probabilities, ids, synthetic, ten_samples
from unlearning.metrics.base import Evidence, evaluate
from unlearning.metrics.class_membership import ClassMembership, variation


def views(shift: float, seed: int = 1) -> Evidence:
    """Class 0 of four is forgotten: the retrained model takes it for class 1, ours for class 2, to an extent.

    The logit of class 2 is normal with unit variance, and its mean differs by ``shift``.
    """
    asked = synthetic(forgotten=True, size=16000)
    ours, theirs = (torch.randn(asked.logits.shape, generator=torch.Generator().manual_seed(n)) for n in (seed, 2))
    ours[:, 1:4:2] = theirs[:, 1:4:2] = 0  # nothing but class 2 differs
    ours[:, 2] += shift
    return replace(asked, logits=ours, retrained=theirs)


def test_the_attack_has_the_area_that_the_distributions_allow() -> None:
    """For two normal variables with unit variance, P(X > Y) is Phi(shift / sqrt 2)."""
    for shift in (0.0, 1.0, 2.0):
        best = torch.special.ndtr(torch.tensor(shift / 2**0.5)).item()
        assert ClassMembership()(views(shift))["cmia/auc"] == pytest.approx(best, abs=0.02)


def test_a_model_is_not_told_from_itself() -> None:
    asked = views(1.0)
    assert ClassMembership()(replace(asked, logits=asked.retrained)) == {"cmia/auc": 0.5, "cmia/tv": 0.0}


def test_the_forgotten_class_itself_is_not_looked_at() -> None:
    """A model that only suppresses the class, and is else the retrained one, gives nothing away here."""
    asked = views(1.0)
    suppressed = asked.retrained.clone()
    suppressed[:, 0] = -50
    assert ClassMembership()(replace(asked, logits=suppressed)) == {"cmia/auc": 0.5, "cmia/tv": 0.0}


def test_variation_by_hand() -> None:
    ours = from_probabilities((0.8, 0.2), (0.6, 0.4), (0.5, 0.5)).double()
    theirs = from_probabilities((0.5, 0.5), (0.5, 0.5), (0.5, 0.5)).double()
    # of the first class two samples, (.7, .3) against (.5, .5): .2; of the second one, 0
    assert variation(ours, theirs, ids(4, 4, 7)) == pytest.approx(0.2 * 2 / 3, abs=1e-6)


def test_both_views_of_a_sample_are_in_one_fold() -> None:
    """Where each sample is seen alike by both models, an attack that had met its other view would call it that one."""
    same: Tensor = torch.randn(400, 30, generator=torch.Generator().manual_seed(0)).double()
    assert ClassMembership(folds=2).auc(same, same) == 0.5


def test_what_it_needs_and_refuses() -> None:
    metric, asked = ClassMembership(), ten_samples()  # two samples of one of three classes
    assert not metric.applies_to(replace(asked, split=replace(asked.split, forget_classes=())))
    assert not metric.applies_to(replace(asked, retrained=None))
    _, failed = evaluate({"cmia": metric}, asked)
    assert failed == {"cmia": "ValueError: at least 5 samples must be forgotten, one for each fold, not 2"}
    _, failed = evaluate({"cmia": metric}, replace(asked, split=replace(asked.split, forget_classes=(1, 2))))
    assert failed == {"cmia": "ValueError: at least two classes must be left, not 1"}
