"""Linear CKA: what it must not notice, what it must, and values that are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.predictions import ids, ten_samples
from unlearning.metrics.base import evaluate, gaps
from unlearning.metrics.features import Features
from unlearning.metrics.representation import OriginalCKA, RetrainedCKA, linear_cka, unbiased_hsic
from unlearning.verify.representations import cka, debiased_cka

EITHER = pytest.mark.parametrize("debiased", [False, True])


def normal(n: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed)).double()


@EITHER
def test_rotation_scale_and_shift_are_not_noticed(debiased: bool) -> None:
    x, y = normal(60, 5), normal(60, 5, seed=1) + normal(60, 5)
    turn, _ = torch.linalg.qr(normal(5, 5, seed=2))
    assert linear_cka(x, x, debiased) == pytest.approx(1, abs=1e-12)
    assert linear_cka(x, 7 * x @ turn + 3, debiased) == pytest.approx(1, abs=1e-12)
    assert linear_cka(x, -0.1 * y @ turn - 2, debiased) == pytest.approx(linear_cka(x, y, debiased), abs=1e-12)
    assert linear_cka(x, torch.cat([x, x], 1), debiased) == pytest.approx(1, abs=1e-12)
    assert linear_cka(y, x, debiased) == pytest.approx(linear_cka(x, y, debiased), abs=1e-12)


def test_another_linear_map_is_noticed() -> None:
    """Of independent columns of unit variance, scaled by s and t: (sum s^2 t^2) / sqrt(sum s^4 sum t^4)."""
    x, stretch = normal(1500, 3), torch.tensor([3.0, 1.0, 1.0]).double()
    known = (9 + 1 + 1) / (3 * (81 + 1 + 1)) ** 0.5
    assert linear_cka(x, x * stretch) == pytest.approx(known, abs=0.03)


def test_by_hand() -> None:
    # centred (-1, 0, 1) and (-1, 2, -1): orthogonal; with (0, 1, 2) and (0, 1, 5): cos^2 = (5^2) / (2 * 14)
    x = torch.tensor([[0.0], [1.0], [2.0]]).double()
    assert linear_cka(x, torch.tensor([[0.0], [3.0], [0.0]]).double()) == pytest.approx(0, abs=1e-15)
    assert linear_cka(x, torch.tensor([[0.0], [1.0], [5.0]]).double()) == pytest.approx(25 / 28)


def test_independent_noise_is_near_zero() -> None:
    x, y = normal(1500, 4), normal(1500, 4, seed=1)
    assert linear_cka(x, y) == pytest.approx(0, abs=0.01)
    few = [[linear_cka(normal(40, 30, seed=s), normal(40, 30, seed=s + 99), d) for s in range(20)] for d in (0, 1)]
    assert np.mean(few[0]) == pytest.approx(30 / 70, abs=0.03)  # the bias of few samples
    assert np.mean(few[1]) == pytest.approx(0, abs=0.03)


@EITHER
def test_it_is_what_other_formulas_give(debiased: bool) -> None:
    x = normal(30, 6)
    y = x[:, :4] + normal(30, 4, seed=1)
    other = (debiased_cka if debiased else cka)(x.numpy(), y.numpy())
    assert linear_cka(x, y, debiased) == pytest.approx(other, abs=1e-12)


def test_each_set_and_each_reference() -> None:
    own, original, retrained = (Features(torch.arange(10), normal(10, 2, seed=seed).float()) for seed in (0, 1, 2))
    asked = ten_samples()
    asked = replace(asked, split=replace(asked.split, forget=ids(2, 5, 6)))
    asked = replace(asked, features=own, original_features=original, retrained_features=retrained)
    metrics = {"original": OriginalCKA(), "retrained": RetrainedCKA()}
    values, failed = evaluate(metrics, asked)
    assert failed == {}
    for name, reference in {"original": original, "retrained": retrained}.items():
        for part, rows in {"forget": [2, 5, 6], "retain": [0, 1, 3, 4]}.items():
            expected = cka(own.values[rows].double().numpy(), reference.values[rows].double().numpy())
            assert values[f"cka/{name}_{part}"] == pytest.approx(expected, abs=1e-9)
    assert gaps(metrics, values, values).keys() == {"gap/cka/original_forget", "gap/cka/original_retain"}
    for metric in metrics.values():
        assert not metric.applies_to(replace(asked, features=None))
    assert not OriginalCKA().applies_to(replace(asked, original_features=None))
    assert not RetrainedCKA().applies_to(replace(asked, retrained=None))


def test_what_has_no_similarity_is_told() -> None:
    with pytest.raises(ValueError, match="at least 2 samples, not 1"):
        linear_cka(normal(1, 3), normal(1, 3))
    with pytest.raises(ValueError, match="at least 4"):
        linear_cka(normal(3, 3), normal(3, 3), debiased=True)
    with pytest.raises(ValueError, match="do not differ"):
        linear_cka(normal(5, 3), torch.ones(5, 2).double())
    with pytest.raises(ValueError, match="do not differ"):
        linear_cka(normal(5, 3), torch.ones(5, 2).double(), debiased=True)


def test_an_unbiased_estimate_below_zero_is_told_as_that() -> None:
    """Four points, the corners of a tetrahedron: after the diagonal, K has -1 everywhere, and the estimate is 0.

    (k * k).sum() = 12, the sums of k are -3 each: 12 + 144 / 6 - 2 / 2 * 36 = 0.
    """
    corners = torch.eye(4).double() * 2
    assert unbiased_hsic(*(2 * [-torch.ones(4, 4).double()])) == pytest.approx(0)
    with pytest.raises(ValueError, match="4 samples are too few"):
        linear_cka(corners, normal(4, 3), debiased=True)
