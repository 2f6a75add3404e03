"""The attack on forgotten, retained and unseen samples, against areas that are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.predictions import ten_samples
from unlearning.metrics.base import Evidence, evaluate
from unlearning.metrics.three_class import ThreeClassAttack
from unlearning.types import Split

SIZE = 2000


def asked(after: tuple[float, float, float], before: tuple[float, float, float], kind: bool = False) -> Evidence:
    """Two classes. Margins of forgotten, retained and unseen samples are normal with these means and unit variance.

    With ``kind`` half of the unseen samples are of the forgotten kind, and have margins as forgotten ones.
    """
    ids = torch.arange(3 * SIZE)
    forget, retain, test = ids.split(SIZE)
    of_kind, others = (test[::2], test[1::2]) if kind else (test[:0], test)
    split = Split(ids[: 2 * SIZE], forget, retain, test[:0], test, of_kind, others)
    generator, labels = torch.Generator().manual_seed(0), ids % 2

    def logits(means: tuple[float, float, float]) -> torch.Tensor:
        margins = torch.tensor(means, dtype=torch.float32).repeat_interleave(SIZE)
        margins[of_kind] = means[0]
        margins += torch.randn(3 * SIZE, generator=generator)
        return torch.stack([margins, -margins], 1) / 2 * (1 - 2 * labels)[:, None]

    after_logits = logits(after)
    return Evidence(after_logits, labels, split, ("a", "b"), original=logits(before))


def area(distance: float) -> float:
    """P(X > Y) for two normal variables of unit variance whose means differ."""
    return torch.special.ndtr(torch.tensor(distance / 2**0.5)).item()


def test_nothing_to_tell_is_chance() -> None:
    found = ThreeClassAttack()(asked((2, 2, 2), (2, 2, 2)))
    assert found["tcmia/acc"] == pytest.approx(1 / 3, abs=0.03)
    assert found["tcmia/retain_auc"] == pytest.approx(0.5, abs=0.04)
    assert found["tcmia/forget_auc"] == pytest.approx(0.5, abs=0.04)


def test_the_areas_are_those_of_the_margins() -> None:
    found = ThreeClassAttack(limit=SIZE)(asked((0, 3, 2), (2, 2, 2)))
    assert found["tcmia/retain_auc"] == pytest.approx(area(1), abs=0.03)
    assert found["tcmia/forget_auc"] == pytest.approx(area(2), abs=0.03)


def test_what_was_seen_before_counts_as_well_as_after() -> None:
    """Two independent views at distances 1 and 1 are one at a distance of the square root of 2."""
    one, both = (
        ThreeClassAttack(limit=SIZE)(asked((2, 3, 2), (2, before, 2)))["tcmia/retain_auc"] for before in (2, 3)
    )
    assert one == pytest.approx(area(1), abs=0.03)
    assert both == pytest.approx(area(2**0.5), abs=0.03)


def test_forgotten_samples_are_compared_with_unseen_ones_of_their_kind() -> None:
    """A class that is forgotten alike in training and unseen samples gives nobody away, and neither does the rest."""
    found = ThreeClassAttack()(asked((-3, 3, 3), (3, 3, 3), kind=True))
    assert found["tcmia/forget_auc"] == pytest.approx(0.5, abs=0.05)
    assert found["tcmia/retain_auc"] == pytest.approx(0.5, abs=0.05)
    # forgotten 1/2 against the unseen of its kind, the same for the rest: forgotten, retained and 0 are best
    assert found["tcmia/acc"] == pytest.approx(2 / 3, abs=0.03)


def test_only_samples_that_the_attack_was_not_fitted_to_are_judged() -> None:
    """With few samples a fit would tell its own."""
    values = [ThreeClassAttack(limit=15)(asked((2, 2, 2), (2, 2, 2)))["tcmia/acc"]]
    few = asked((2, 2, 2), (2, 2, 2))
    for shift in range(1, 12):
        split = replace(few.split, forget=few.split.forget.roll(shift * 97), retain=few.split.retain.roll(shift * 89))
        values.append(ThreeClassAttack(limit=15)(replace(few, split=split))["tcmia/acc"])
    assert np.mean(values) < 0.42


def test_what_it_refuses() -> None:
    few, attack = ten_samples(), {"attack": ThreeClassAttack()}
    assert evaluate(attack, few) == ({}, {})  # there is no original
    _, failed = evaluate(attack, replace(few, original=few.logits))
    assert "2 samples" in failed["attack"]
