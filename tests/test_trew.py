"""TREW: the tilted distribution against closed forms, a step by hand, and forgetting on the digits."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import nn

from tests.by_hand import LR, SGD
from tests.conftest import Tiny
from tests.digits import rows
from unlearning.errors import UserError
from unlearning.methods.trew import TREW, tilted

NONE = -torch.inf


def log(*rows: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()


def test_without_a_tilt_it_is_the_distribution_without_the_class() -> None:
    found = tilted(log((0.0, 0.2, 0.6)) + 3, torch.tensor([[1.0, 0.5, -0.5]]).double(), 0.0)
    torch.testing.assert_close(found, torch.tensor([[0, 0.25, 0.75]]).double())


@pytest.mark.parametrize("tilt", [0.1, 0.5, 0.99])
def test_of_two_classes_the_expected_similarity_decides(tilt: float) -> None:
    """With q on the more similar of two, q s1 + (1 - q) s2 = (1 - tilt) (r s1 + (1 - r) s2) + tilt s1."""
    found = tilted(log((0.0, 0.2, 0.6)), torch.tensor([[1.0, 0.5, -0.1]]).double(), tilt)
    q = (1 - tilt) * 0.25 + tilt
    torch.testing.assert_close(found, torch.tensor([[0, q, 1 - q]]).double())


def test_it_is_an_exponential_tilt_with_the_value_that_is_asked_for() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, s = (torch.randn(50, 6, generator=generator).double() for _ in range(2))
    logits[:, 2] = NONE
    left = [0, 1, 3, 4, 5]
    found, before = tilted(logits, s, 0.4), logits.softmax(1)
    assert (found[:, 2] == 0).all()
    most = s[:, left].amax(1)
    torch.testing.assert_close((found * s).sum(1), 0.6 * (before * s).sum(1) + 0.4 * most)
    for q, r, similar in zip(found[:, left], before[:, left], s[:, left], strict=True):
        coefficient, *_ = np.polyfit(similar, (q / r).log(), 1)
        assert coefficient > 0
        residual = (q / r).log() - coefficient * similar
        assert residual.std().item() == pytest.approx(0, abs=1e-8)


def test_extremes_are_finite() -> None:
    sure = torch.tensor([[0.0, 300.0, -300.0], [NONE, NONE, 1.0]]).double()
    same = tilted(sure, torch.full((2, 3), 0.7).double(), 0.9)
    torch.testing.assert_close(same, sure.softmax(1))  # nothing is more similar than anything else
    found = tilted(sure, torch.tensor([[1.0, -1.0, 0.5], [0.0, 0.0, 0.3]]).double(), 0.9)
    assert found.isfinite().all()
    torch.testing.assert_close(found.sum(1), torch.ones(2).double())


W = np.array([0.5, -1.0, 0.8])


@pytest.fixture
def three() -> Tiny:
    """``Tiny`` with three classes: sample 0, of class 0, is forgotten; the others have labels 1, 2 and 1."""
    tiny = Tiny()
    tiny.data = replace(tiny.data, labels=torch.tensor([0, 1, 2, 1]), classes=("a", "b", "c"))
    ids = torch.arange(4)
    tiny.split = replace(tiny.split, forget=ids[:1], retain=ids[1:], forget_classes=(0,), named_classes=(0,))
    tiny.model = nn.Sequential(nn.Flatten(), nn.Linear(1, 3, bias=False))
    with torch.no_grad():
        tiny.model[1].weight.copy_(torch.tensor(W)[:, None])
    return tiny


def test_a_step_by_hand(three: Tiny) -> None:
    # Rows of one weight are at a cosine of -1 or 1: class 1 is unlike class 0, and class 2 is like it.
    x = 0.2
    p = softmax(W * x)
    r = p[2] / (p[1] + p[2])
    q = 0.7 * r + 0.3  # (1 - tilt) (r - (1 - r)) + tilt = q - (1 - q)
    forget = (p - np.array([0, 1 - q, q])) * x
    retained, labels = np.array([1.0, 0.4, 0.8]), np.array([1, 2, 1])
    retain = ((softmax(np.outer(retained, W), axis=1) - np.eye(3)[labels]) * retained[:, None]).mean(0)
    method = TREW(three.model, tilt=0.3, optimizer=SGD, forget_weight=0.6)
    three.fit(method)
    np.testing.assert_allclose(three.weight.numpy(), W - LR * (0.6 * forget + retain), rtol=1e-5)
    assert method.access == {"forget": "inputs and labels", "retain": "inputs and labels", "classes": "numbers"}


def test_a_network_without_a_row_for_each_class_is_refused(three: Tiny) -> None:
    for network in (
        nn.Sequential(nn.Conv2d(1, 3, 1), nn.Flatten()),
        nn.Sequential(nn.Flatten(), nn.Linear(1, 6), nn.Unflatten(1, (3, 2)), nn.AdaptiveMaxPool1d(1), nn.Flatten()),
    ):
        with pytest.raises(UserError) as refused:
            TREW(network, optimizer=SGD).check(three.problem.task)
        assert (refused.value.key, refused.value.kind) == ("method", "conflict")
    with pytest.raises(UserError) as refused:
        TREW(three.model, optimizer=SGD).check(replace(three.problem.task, forget_classes=()))
    assert refused.value.key == "scenario"


@pytest.mark.slow
def test_it_forgets_a_class_of_the_digits(places: list[str]) -> None:
    found = rows(places, "method=trew")
    assert found["original"]["forget/acc"] == 1
    assert found["unlearned"]["forget/acc"] <= 0.02
    assert found["unlearned"]["retain/acc"] >= 0.98
    assert found["unlearned"]["test_retain/acc"] >= found["retrained"]["test_retain/acc"] - 0.03
