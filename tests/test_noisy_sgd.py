"""Projected noisy SGD: its step by hand, and its guarantee where that is known exactly."""

import functools
import math
import zlib

import numpy as np
import pytest
import torch
from torch import nn

from tests.by_hand import LR, RETAIN, SGD, W, close, gradient
from tests.conftest import Tiny, composed
from tests.digits import rows
from unlearning.engine.job import Job
from unlearning.errors import UserError
from unlearning.gradients.iteration_privacy import Steps, epsilon, renyi_rate
from unlearning.methods.noisy_sgd import NoisySGD

DECAYED = functools.partial(torch.optim.SGD, lr=LR, weight_decay=0.5)
GUARANTEED = {"optimizer": DECAYED, "sigma": 0.3, "radius": 1.0, "delta": 1e-5}


def test_a_step_descends_adds_noise_and_stays_in_the_ball(tiny: Tiny) -> None:
    tiny.fit(NoisySGD(tiny.model, optimizer=DECAYED, sigma=0.3, radius=1.0, epochs=2), seed=3)
    generator = torch.Generator().manual_seed(3 + zlib.crc32(b"noisy_sgd"))

    def projected(weights: np.ndarray) -> np.ndarray:
        return weights / max(1, np.linalg.norm(weights))

    expected = projected(W)
    for _ in range(2):
        noise = torch.randn(2, generator=generator).numpy()
        step = gradient(expected, *RETAIN) + 0.5 * expected
        expected = projected(expected - LR * step + math.sqrt(2 * LR) * 0.3 * noise)
    close(tiny, expected)


def test_without_noise_and_ball_it_is_fine_tuning(tiny: Tiny) -> None:
    tiny.fit(NoisySGD(tiny.model, optimizer=SGD, sigma=0.0))
    close(tiny, W - LR * gradient(W, *RETAIN))


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_divergence_is_exact_for_a_quadratic_function(count: int) -> None:
    """From R and -R the weights are normal about c^K R and -c^K R with the same variance, as no step is projected."""
    rate, variance, radius, m = 0.2, 0.03, 2.0, 0.7
    centre, spread = radius, 0.0
    for _ in range(count):
        centre, spread = (1 - rate * m) * centre, (1 - rate * m) ** 2 * spread + variance
    exact = (2 * centre) ** 2 / (2 * spread)  # D_alpha(N(a, v), N(b, v)) = alpha (a - b)^2 / (2 v)
    assert renyi_rate(Steps(count, rate, variance, radius, m, m)) == pytest.approx(exact)


def test_epsilon_is_the_least_over_the_orders_of_divergence() -> None:
    steps = Steps(20, 0.1, 0.02, 1.0, 0.5, 4.0)
    rho, orders = renyi_rate(steps), np.linspace(1.0001, 2000, 2_000_000)
    assert epsilon(steps, 1e-5) == pytest.approx((rho * orders + math.log(1e5) / (orders - 1)).min(), rel=1e-4)
    assert epsilon(steps._replace(taken=40), 1e-5) < epsilon(steps, 1e-5)


def test_a_run_gives_the_epsilon_of_its_steps(tiny: Tiny) -> None:
    method = NoisySGD(tiny.model, epochs=30, **GUARANTEED)
    tiny.fit(method)
    smooth = (0.8**2 + 1) / 2 + 0.5
    expected = epsilon(Steps(30, LR, 2 * LR * 0.09, 1.0, 0.5, smooth), 1e-5)
    assert torch.stack(method.curves["epsilon"]).tolist() == pytest.approx([expected])
    assert abs(1 - LR * smooth) < 1 - LR * 0.5  # the contraction is that of the convexity
    assert np.linalg.norm(tiny.weight) <= 1 + 1e-6


@pytest.mark.parametrize(("rate", "contracts"), [(1.3, True), (1.5, True), (1.53, False)])
def test_steps_contract_up_to_twice_the_inverse_of_the_smoothness(tiny: Tiny, rate: float, contracts: bool) -> None:
    """L is 1.32 and 2 / L 1.515; from 2 / (m + L) = 1.10 on, the steepest direction decides c, not the flattest."""
    steep = functools.partial(torch.optim.SGD, lr=rate, weight_decay=0.5)
    method = NoisySGD(tiny.model, epochs=4, **(GUARANTEED | {"optimizer": steep}))
    if not contracts:
        with pytest.raises(UserError) as raised:
            tiny.fit(method)
        assert raised.value.key == "method.optimizer.lr"
        return
    tiny.fit(method)
    c = 1.32 * rate - 1
    rho = 2**2 * c**8 / (2 * 2 * rate * 0.09 * (1 + c**2 + c**4 + c**6))
    expected = rho + 2 * math.sqrt(rho * math.log(1e5))
    assert torch.stack(method.curves["epsilon"]).tolist() == pytest.approx([expected], rel=1e-5)


def test_two_starts_end_alike(tiny: Tiny) -> None:
    """With the same noise, the distance of two runs shrinks by c in every step, as the bound supposes."""
    other = Tiny(weight=(-1.0, 0.0))
    for one in (tiny, other):
        one.fit(NoisySGD(one.model, epochs=5, **GUARANTEED))
    distance = (tiny.weight - other.weight).norm().item()
    before = np.linalg.norm(W / np.linalg.norm(W) - np.array([-1.0, 0.0]))
    assert 0 < distance <= (1 - LR * 0.5) ** 5 * before


@pytest.mark.parametrize(
    ("key", "options"),
    [
        ("method.radius", {"radius": None}),
        ("method.sigma", {"sigma": 0.0}),
        ("method.keep", {"keep": 0.9}),
        ("method.retain_weight", {"retain_weight": 2.0}),
        ("method.optimizer", {"optimizer": functools.partial(torch.optim.SGD, lr=LR, momentum=0.9, weight_decay=1)}),
        ("method.optimizer", {"optimizer": SGD}),
        ("method.optimizer.lr", {"optimizer": functools.partial(torch.optim.SGD, lr=2.0, weight_decay=0.5)}),
    ],
)
def test_no_guarantee_is_given_where_it_does_not_hold(tiny: Tiny, key: str, options: dict[str, object]) -> None:
    method = NoisySGD(tiny.model, **(GUARANTEED | options))

    def run() -> None:
        method.check(tiny.problem.task)
        tiny.fit(method)

    with pytest.raises(UserError) as raised:
        run()
    assert raised.value.key == key


def test_networks_have_no_guarantee(tiny: Tiny, places: list[str]) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(1, 3), nn.ReLU(), nn.Linear(3, 2))
    with pytest.raises(UserError) as raised:
        NoisySGD(network, **GUARANTEED).check(tiny.problem.task)
    assert (raised.value.key, raised.value.kind) == ("model", "conflict")
    options = ["method.delta=1e-5", "method.radius=3", "method.keep=null", "method.optimizer.weight_decay=0.1"]
    words = ["method=noisy_sgd", "dataset=wine", "model=mlp", "model.hidden=[]", *options, *places]
    assert Job.of(composed(*words)[0]).checked().access == {"retain": "inputs and labels"}


@pytest.mark.slow
def test_forgets_a_class_of_the_digits(places: list[str]) -> None:
    """As fine-tuning does at its rate for the digits."""
    options = ["optimizer.lr=0.1", "epochs=10", "batch_size=32", "keep=null"]
    found = rows(places, "method=noisy_sgd", *(f"method.{option}" for option in options))
    assert found["original"]["forget/acc"] == 1
    assert found["unlearned"]["forget/acc"] <= 0.1
    assert found["unlearned"]["retain/acc"] >= 0.9


def test_the_guarantee_is_told_and_one_that_promises_nothing_is_called_so() -> None:
    (good,), (vacuous,) = (list(NoisySGD.remarks({"epsilon": e}, {"delta": 1e-5}, {})) for e in (3.0, 9e5))
    assert good.endswith("(3, 1e-05)-indistinguishable from those that the same run makes of any other model")
    assert "promises next to nothing" in vacuous
    assert not list(NoisySGD.remarks({}, {"delta": None}, {}))
