"""Feasible updates: masks and factors derived by hand, and the guarantee that a step hurts neither batch."""

import functools
from collections import defaultdict
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm
from torch import Tensor, nn

from tests.conftest import Tiny
from tests.test_steps import FORGET, LR, RETAIN, SGD, W, close, gradient
from unlearning.addons.base import Addon
from unlearning.addons.bernoulli import Bernoulli
from unlearning.addons.focal import Focal
from unlearning.addons.focus import Focus
from unlearning.addons.focus_opt import FocusOpt
from unlearning.addons.l1 import L1
from unlearning.addons.opt import Opt, descending, feasible_mask
from unlearning.addons.prob import Prob
from unlearning.addons.prune import Prune
from unlearning.addons.saliency import Saliency
from unlearning.addons.saliency_batch import BatchSaliency
from unlearning.addons.sign_and import And
from unlearning.errors import UserError
from unlearning.gradients.vectors import flatten
from unlearning.methods.neggrad_plus import NegGradPlus


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def combine(
    addon: Addon, step: Tensor, forget: Tensor, retain: Tensor, lengths: Sequence[int] = ()
) -> tuple[Tensor, dict[str, list[float]]]:
    """The step that an add-on makes of one on parameter tensors of these lengths, and the curves that it draws."""
    model = nn.ParameterList(torch.zeros(n) for n in lengths)
    method = SimpleNamespace(curves=defaultdict(list), model=model)
    chosen = addon.combine(method, step, {"forget": forget, "retain": retain})
    return chosen, {name: [value.item() for value in values] for name, values in method.curves.items()}


# The deterministic feasible update


def test_opt_drops_the_most_conflicting_coordinates() -> None:
    # d = u + c = (2, -1, 2), u c = (1, -2, -3): sums of d c over prefixes are 2, 1, -1, those of d u 2, 4, 10.
    u, c = vector(1, -2, 3), vector(1, 1, -1)
    chosen, curves = combine(Opt(), u + c, u, c)
    assert chosen.tolist() == [2, -1, 0]
    assert {name: value for name, (value,) in curves.items()} == {
        "opt/mask_ratio": pytest.approx(2 / 3),
        "opt/retain_before": -1,
        "opt/retain_after": 1,
        "opt/forget_before": 10,
        "opt/forget_after": 4,
    }


def test_opt_keeps_all_where_all_together_helps_both() -> None:
    # d = (2, 5.5, 3), u c = (1, -3, -4): sums of d c are 2, -.75, 11.25, those of d u 2, 35, 32: the second coordinate
    # alone would hurt, but with the third one it does not.
    u, c = vector(1, 6, -1), vector(1, -0.5, 4)
    assert combine(Opt(), u + c, u, c)[0].tolist() == (u + c).tolist()


def test_opt_drops_the_most_conflicting_first_even_where_another_alone_would_do() -> None:
    # d = (u + c) / 2 = (0, .5, 1), u c = (-100, -30, 1): d u = (0, -2.5, 1) and d c = (0, 3, 1). All together make -1.5
    # of d u, and so they do without the first; without the second alone they would make 1, and 1 of d c.
    u, c = vector(-10, -5, 1), vector(10, 6, 1)
    assert combine(Opt(), (u + c) / 2, u, c)[0].tolist() == [0, 0, 1]
    assert feasible_mask((u + c) / 2, u, c).tolist() == [False, False, True]


# Two tensors: the one of the first test above, and one on which the batches agree by more than they conflict there.
SPLIT = vector(1, -2, 3, 9, 9), vector(1, 1, -1, 9, 9)


@pytest.mark.parametrize(("scope", "last"), [("tensor", 0), ("global", 2)])
def test_opt_searches_each_tensor_or_all_of_them(scope: str, last: float) -> None:
    u, c = SPLIT
    chosen, curves = combine(Opt(scope), u + c, u, c, lengths=(3, 2))
    assert chosen.tolist() == [2, -1, last, 18, 18]
    assert curves["opt/mask_ratio"] == [0.8 if scope == "tensor" else 1]


@pytest.mark.parametrize(("scope", "second"), [("tensor", 0), ("global", -1)])
def test_focus_opt_searches_each_tensor_or_all_of_them(scope: str, second: float) -> None:
    u, c = SPLIT
    addon = FocusOpt(scope)
    addon.focus_vector = lambda *_: vector(0.5, 1, 0.5, 1, 1)  # as in the test below, where the second is dropped
    assert combine(addon, u + c, u, c, lengths=(3, 2))[0].tolist() == [1, second, 1, 18, 18]


def slack(u: np.ndarray, c: np.ndarray, a: float, b: float) -> float:
    """The paper's condition on the coordinates that are kept: feasible where this is not negative."""
    return min(a / b * (u**2).sum(), b / a * (c**2).sum()) + (u * c).sum()


finite = st.floats(-1e3, 1e3, allow_nan=False, width=32)
pairs = st.integers(1, 25).flatmap(lambda n: arrays(np.float64, (2, n), elements=finite))


@settings(max_examples=400, deadline=None)
@given(
    st.lists(pairs, min_size=1, max_size=4),
    st.floats(0.01, 0.99),
    st.sampled_from([Opt, FocusOpt]),
    st.sampled_from(["global", "tensor"]),
)
def test_the_step_of_opt_hurts_neither_batch(tensors: list[np.ndarray], b: float, kind: type, scope: str) -> None:
    """The inner products are not negative over all parameters and, where each tensor is searched by itself, in each."""
    u, c = torch.from_numpy(np.concatenate(tensors, axis=1))
    addon, w, lengths = kind(scope), torch.ones_like(u), [t.shape[1] for t in tensors]
    if kind is FocusOpt:
        w = Focus().focus_vector(u, c)  # the guarantee is about the gradients as w scales them
    chosen, _ = combine(addon, b * c + (1 - b) * u, u, c, lengths)
    searched = [len(u)] if scope == "global" else lengths
    for step, forget, retain in zip(*(v.split(searched) for v in (chosen, w * u, w * c)), strict=True):
        size = (forget.norm() + retain.norm()).item() ** 2
        assert torch.dot(step, forget).item() >= -1e-12 * size
        assert torch.dot(step, retain).item() >= -1e-12 * size
    size = (u.norm() + c.norm()).item() ** 2
    assert torch.dot(chosen, w * u).item() >= -1e-12 * size
    assert torch.dot(chosen, w * c).item() >= -1e-12 * size


@settings(max_examples=200, deadline=None)
@given(pairs, st.floats(0.01, 0.99))
def test_opt_drops_no_more_than_it_must_in_the_order_of_conflict(gradients: np.ndarray, b: float) -> None:
    u, c = gradients
    mask = feasible_mask(*map(torch.from_numpy, (b * c + (1 - b) * u, u, c))).numpy()
    dropped = int((~mask).sum())
    order = descending(torch.from_numpy(u * c)).flip(0).numpy()  # which decides between equal products
    assert (u * c)[~mask].max(initial=-np.inf) <= (u * c)[mask].min(initial=np.inf)
    size = 1e-9 * (1 + (u**2).sum() + (c**2).sum())
    for fewer in range(dropped):
        assert slack(u[order[fewer:]], c[order[fewer:]], 1 - b, b) < size


@pytest.mark.parametrize("scope", ["global", "tensor"])
def test_every_step_of_opt_helps_both_batches_in_training(scope: str) -> None:
    torch.manual_seed(0)
    tiny = Tiny()
    tiny.model = nn.Sequential(nn.Flatten(), nn.Linear(1, 16), nn.ReLU(), nn.Linear(16, 2))
    method = NegGradPlus(tiny.model, SGD, epochs=20, forget_weight=0.5, retain_weight=0.5, addons=[Opt(scope)])
    tiny.fit(method)
    curves = {name: torch.stack(values) for name, values in method.curves.items()}
    assert len(curves["opt/mask_ratio"]) == 20
    assert min(curves["opt/retain_before"].min(), curves["opt/forget_before"].min()) < -1e-3  # there was a conflict
    assert min(curves["opt/retain_after"].min(), curves["opt/forget_after"].min()) >= -1e-6
    assert 0 < curves["opt/mask_ratio"].min() < 1


@pytest.mark.parametrize(
    "holder", [Saliency, functools.partial(BatchSaliency, of="loss"), functools.partial(Prune, "random")]
)
def test_opt_chooses_among_what_others_leave_free(holder: Callable[[], Addon]) -> None:
    """The gradient that reaches the optimiser hurts neither batch, in whichever order the user names the add-ons."""
    for seed in range(4):
        torch.manual_seed(seed)
        tiny = Tiny()
        tiny.model = nn.Sequential(nn.Flatten(), nn.Linear(1, 16), nn.ReLU(), nn.Linear(16, 2))
        steps, batches = [], []

        def sgd(parameters: list[nn.Parameter], steps: list = steps) -> torch.optim.Optimizer:
            optimizer = SGD(parameters)
            optimizer.register_step_post_hook(lambda *_: steps.append(flatten(p.grad for p in parameters)))
            return optimizer

        addons = [holder(), Opt()] if seed % 2 else [Opt(), holder()]
        method = NegGradPlus(tiny.model, sgd, epochs=20, forget_weight=0.5, retain_weight=0.5, addons=addons)
        split = method.split_gradients
        method.split_gradients = lambda losses, split=split, batches=batches: (
            batches.append(split(losses)) or batches[-1]
        )
        tiny.fit(method)
        products = [torch.dot(d, g) for d, found in zip(steps, batches, strict=True) for g in found.values()]
        assert len(products) == 40
        assert min(products) >= -1e-6


def test_opt_sorts_at_every_precision() -> None:
    assert descending(torch.tensor([1.0, 3.0, 2.0]).bfloat16()).tolist() == [1, 2, 0]


@pytest.mark.parametrize("weights", [{"forget_weight": 0.0}, {"retain_weight": 0.0}])
@pytest.mark.parametrize("addon", [Opt(), FocusOpt()])
def test_opt_needs_both_weights(tiny: Tiny, weights: dict[str, float], addon: Addon) -> None:
    method = NegGradPlus(tiny.model, SGD, addons=[addon], **weights)
    with pytest.raises(UserError) as caught:
        tiny.fit(method)
    assert (caught.value.key, caught.value.kind) == (f"method.{next(iter(weights))}", "conflict")


# The focus vector


U, C, D = vector(0.3, -0.2, 0.01, 0.5), vector(0.4, 0.3, 0.02, -0.001), vector(1, 2, 3, 4)


def expected_w(*steps: tuple[Tensor, Tensor], memory: float = 0.1, centred: bool = False) -> np.ndarray:
    """The focus vector after some steps, from the normal distribution itself; a moment is a tenth of g^2 at first."""
    found = []
    for gradients in zip(*steps, strict=True):
        first, *later = (g.numpy() for g in gradients)
        second, mean, latest = 0.1 * first**2, 0.1 * first, first
        for latest in later:
            second, mean = memory * second + (1 - memory) * latest**2, memory * mean + (1 - memory) * latest
        variance = second - mean**2 if centred else second
        found.append(norm.cdf(latest / np.sqrt(variance + 1e-8)))
    p, q = found
    return p * q + (1 - p) * (1 - q)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize(("rho_weighs", "memory"), [("new", 0.1), ("old", 0.9)])
def test_focus_scales_by_the_probability_of_agreement(rho_weighs: str, memory: float, centred: bool) -> None:
    addon, options = Focus(rho_weighs=rho_weighs, centred=centred), {"memory": memory, "centred": centred}
    chosen, _ = combine(addon, D, U, C)
    np.testing.assert_allclose(chosen, D * expected_w((U, C), **options), rtol=1e-9)
    chosen, curves = combine(addon, D, 2 * C, U)
    w = expected_w((U, C), (2 * C, U), **options)
    np.testing.assert_allclose(chosen, D * w, rtol=1e-9)
    assert curves["focus/w_mean"] == [pytest.approx(w.mean())]
    assert curves["focus/mask_ratio"] == [pytest.approx(w.mean())]
    bins = [curves[f"focus/w_{k / 10}"][0] for k in range(10)]
    np.testing.assert_allclose(bins, np.histogram(w, 10, (0, 1))[0] / 4)
    chosen, _ = combine(addon, D, C, C)  # a third step: the second is not special
    np.testing.assert_allclose(chosen, D * expected_w((U, C), (2 * C, U), (C, C), **options), rtol=1e-9)


def test_with_a_small_moment_a_gradient_is_sure_of_its_sign() -> None:
    """The numbers of two steps: g = 1 and then 2 give V = .1 and then .9 x 4 + .1 x .1 = 3.61, a z of 2 / 1.9."""
    addon, one = Focus(), vector(1)
    assert addon.sign_surplus("forget", one).item() == pytest.approx(2 * norm.cdf(1 / np.sqrt(0.1)) - 1, abs=1e-6)
    assert addon.sign_surplus("forget", 2 * one).item() == pytest.approx(2 * norm.cdf(2 / 1.9) - 1, abs=1e-6)


def test_the_histogram_of_w_counts_its_ends() -> None:
    u, addon = vector(100, 100), Focus()
    addon.rho = 1.0  # the moments stay 0, so w is 1 where the signs agree and 0 where they do not
    _, curves = combine(addon, u, u, vector(100, -100))
    assert (curves["focus/w_0.0"], curves["focus/w_0.5"], curves["focus/w_0.9"]) == ([0.5], [0], [0.5])


def test_prob_and_focal_are_functions_of_w() -> None:
    w = expected_w((U, C))
    tau = float(np.sort(w)[1:3].mean())  # between the second and the third
    assert sorted(w >= tau) == [False, False, True, True]
    np.testing.assert_allclose(combine(Prob(tau), D, U, C)[0], D * (w >= tau))
    np.testing.assert_allclose(combine(Focal(power=5), D, U, C)[0], D * w**5, rtol=1e-9)


def test_and_is_agreement_of_signs() -> None:
    u, c = vector(1, -1, 1e-200, 0, -1e-200), vector(2, 1, -1e-200, -1, -1e-200)
    step = vector(1, 2, 3, 4, 5)
    assert combine(And(), step, u, c)[0].tolist() == [1, 0, 0, 4, 5]
    np.testing.assert_allclose(combine(And(), D, U, C)[0], combine(Prob(tau=0.5), D, U, C)[0])


def test_focus_opt_masks_what_focus_leaves() -> None:
    # w = (.5, 1, .5) by hand: w d = (1, -1, 1), w u = (.5, -2, 1.5), w c = (.5, 1, -.5), their products
    # (.25, -2, -.75). Descending: 0, 2, 1. Sums of w d w c: .5, 0, -1. Sums of w d w u: .5, 2, 4. So 1 is dropped.
    addon = FocusOpt()
    addon.focus_vector = lambda *_: vector(0.5, 1, 0.5)
    u, c = vector(1, -2, 3), vector(1, 1, -1)
    chosen, curves = combine(addon, u + c, u, c)
    assert chosen.tolist() == [1, 0, 1]
    found = {name.removeprefix("focus_opt/"): value for name, (value,) in curves.items() if "/w_" not in name}
    assert found == {
        "mask_ratio": pytest.approx(1 / 3),  # of w m, (.5, 0, .5); the products with u and c, of d and of (1, 0, 1)
        "retain_before": -1,
        "retain_after": 0,
        "forget_before": 10,
        "forget_after": 4,
        "opt/mask_ratio": pytest.approx(2 / 3),  # of m; the products with w u and w c, of w d and of (1, 0, 1)
        "opt/retain_before": -1,
        "opt/retain_after": 0,
        "opt/forget_before": 4,
        "opt/forget_after": 2,
    }


def test_bernoulli_keeps_coordinates_as_often_as_w_says() -> None:
    torch.manual_seed(3)
    addon, n = Bernoulli(), 20_000
    u, c = torch.full((n,), 0.1), torch.full((n,), 0.05)
    p = norm.cdf(1 / np.sqrt(0.1))
    chosen, _ = combine(addon, torch.ones(n), u, c)
    assert set(chosen.tolist()) == {0.0, 1.0}
    assert chosen.mean().item() == pytest.approx(p * p + (1 - p) ** 2, abs=1e-3)
    conflicting, _ = combine(Bernoulli(rho=0.0), torch.ones(n), u, -c)
    p = norm.cdf(1)
    assert conflicting.mean().item() == pytest.approx(2 * p * (1 - p), abs=0.015)


def test_a_step_with_focus_descends_on_the_scaled_gradient(tiny: Tiny) -> None:
    tiny.fit(NegGradPlus(tiny.model, SGD, forget_weight=0.2, retain_weight=0.8, addons=[Focus()]))
    u, c = -gradient(W, *FORGET), gradient(W, *RETAIN)
    w = expected_w((torch.tensor(u), torch.tensor(c)))
    close(tiny, W - LR * w * (0.8 * c + 0.2 * u))


def test_addons_stack_and_the_penalty_comes_on_top(tiny: Tiny) -> None:
    tiny.fit(NegGradPlus(tiny.model, SGD, forget_weight=0.2, retain_weight=0.8, addons=[Focus(), L1(0.3)]))
    u, c = -gradient(W, *FORGET), gradient(W, *RETAIN)
    w = expected_w((torch.tensor(u), torch.tensor(c)))
    close(tiny, W - LR * (w * (0.8 * c + 0.2 * u) + 0.3 * np.sign(W)))
