"""Add-ons: each derived by hand, the guarantee of feasible updates, and that state survives a checkpoint."""

import copy
import dataclasses
import functools
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax
from scipy.stats import norm
from torch import Tensor, nn

from tests.conftest import Tiny, composed, names, tiny_swin, tiny_vit
from tests.test_steps import FORGET, LR, RETAIN, SGD, W, close, gradient
from unlearning import pipeline
from unlearning.addons.base import Addon
from unlearning.addons.focus import And, Bernoulli, Focal, Focus, FocusOpt, Prob
from unlearning.addons.l1 import L1
from unlearning.addons.label_smoothing import LabelSmoothing
from unlearning.addons.opt import Opt, descending, feasible_mask
from unlearning.addons.parameter_noise import ParameterNoise
from unlearning.addons.prune import MagnitudePruning, Prune, prunable, synflow
from unlearning.addons.saliency import BatchSaliency, Saliency, least
from unlearning.addons.sam import SAM
from unlearning.config import build
from unlearning.data.datamodule import UnlearningData
from unlearning.errors import UserError
from unlearning.gradients.vectors import flatten, parts, trainable
from unlearning.methods.finetune import FineTune
from unlearning.methods.neggrad_plus import NegGradPlus
from unlearning.methods.scrub import Scrub
from unlearning.types import Task

MOMENTUM = functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.1)


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def combine(
    addon: Addon, step: Tensor, forget: Tensor, retain: Tensor, lengths: Sequence[int] = ()
) -> tuple[Tensor, dict[str, list[float]]]:
    """What an add-on makes of a step on parameter tensors of these lengths, and the curves it draws."""
    model = nn.ParameterList(torch.zeros(n) for n in lengths)
    method = SimpleNamespace(curves=defaultdict(list), model=model)
    chosen = addon.combine(method, step, {"forget": forget, "retain": retain})
    return chosen, {name: [value.item() for value in values] for name, values in method.curves.items()}


# opt


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


# Two tensors: that of the first of these tests, and one on which the batches agree, for more than both of them.
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
    """The paper's condition on what is left of the gradients: feasible where this is not negative."""
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
    """Over all parameters; and, if each tensor is searched by itself, in each of them."""
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
    order = np.argsort(u * c, kind="stable")
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


@pytest.mark.parametrize("holder", [Saliency, BatchSaliency, functools.partial(Prune, "random")])
def test_opt_chooses_among_what_others_leave_free(holder: Callable[[], Addon]) -> None:
    """What reaches the optimiser hurts neither batch, in the order in which the user names the two as in the other."""
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
    with pytest.raises(UserError, match=r"needs method.forget_weight and method.retain_weight above 0"):
        tiny.fit(method)


# The focus vector


U, C, D = vector(0.3, -0.2, 0.01, 0.5), vector(0.4, 0.3, 0.02, -0.001), vector(1, 2, 3, 4)


def expected_w(*steps: tuple[Tensor, Tensor], rho: float = 0.9, centred: bool = False) -> np.ndarray:
    """The focus vector after some steps, from the normal distribution itself."""
    found = []
    for gradients in zip(*steps, strict=True):
        second = sum((1 - rho) * rho**k * g.numpy() ** 2 for k, g in enumerate(reversed(gradients)))
        mean = sum((1 - rho) * rho**k * g.numpy() for k, g in enumerate(reversed(gradients)))
        variance = second - mean**2 if centred else second
        found.append(norm.cdf(gradients[-1].numpy() / np.sqrt(variance + 1e-8)))
    p, q = found
    return p * q + (1 - p) * (1 - q)


@pytest.mark.parametrize("centred", [False, True])
def test_focus_scales_by_the_probability_of_agreement(centred: bool) -> None:
    addon = Focus(centred=centred)
    chosen, _ = combine(addon, D, U, C)
    np.testing.assert_allclose(chosen, D * expected_w((U, C), centred=centred), rtol=1e-9)
    chosen, curves = combine(addon, D, 2 * C, U)
    w = expected_w((U, C), (2 * C, U), centred=centred)
    np.testing.assert_allclose(chosen, D * w, rtol=1e-9)
    assert curves["focus/w_mean"] == [pytest.approx(w.mean())]
    assert curves["focus/mask_ratio"] == [pytest.approx(w.mean())]
    bins = [curves[f"focus/w_{k / 10}"][0] for k in range(10)]
    np.testing.assert_allclose(bins, np.histogram(w, 10, (0, 1))[0] / 4)


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


@pytest.mark.parametrize(
    "make", [lambda: Focus(rho=1.0), lambda: Prob(tau=1.5), lambda: Focal(power=-1), lambda: SAM(rho=0)]
)
def test_senseless_values_are_refused(make) -> None:
    with pytest.raises(UserError, match="must"):
        make()


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


# Steps with one gradient


@pytest.mark.parametrize("adaptive", [True, False])
def test_sam_steps_by_the_gradient_at_the_worst_weights_nearby(tiny: Tiny, adaptive: bool) -> None:
    method = FineTune(tiny.model, SGD, addons=[SAM(rho=0.3, adaptive=adaptive)])
    tiny.fit(method)
    g = gradient(W, *RETAIN)
    offset = W**2 * g / np.linalg.norm(W * g) if adaptive else g / np.linalg.norm(g)
    close(tiny, W - LR * gradient(W + 0.3 * offset, *RETAIN))
    (loss,) = method.curves["retain_loss"]
    x, y = RETAIN
    assert loss.item() == pytest.approx(-log_softmax(np.outer(x, W), axis=1)[np.arange(2), y].mean())  # not nearby
    assert (method.meter.forward, method.meter.backward) == (4, 4)


def test_sam_ascends_on_the_weighted_sum_of_both_losses(tiny: Tiny) -> None:
    tiny.fit(NegGradPlus(tiny.model, SGD, forget_weight=0.2, retain_weight=0.8, addons=[SAM(rho=0.3)]))

    def d(w: np.ndarray) -> np.ndarray:
        return 0.8 * gradient(w, *RETAIN) - 0.2 * gradient(w, *FORGET)

    close(tiny, W - LR * d(W + 0.3 * W**2 * d(W) / np.linalg.norm(W * d(W))))


def test_sam_draws_the_same_numbers_twice_and_moves_batchnorm_once(tiny: Tiny) -> None:
    drawn = []

    class Noisy(FineTune):
        def retain_loss(self, batch):
            drawn.append(torch.rand(()).item())
            return super().retain_loss(batch)

    tiny.model.insert(1, nn.BatchNorm1d(1))
    tiny.fit(Noisy(tiny.model, SGD, epochs=3, addons=[SAM(rho=0.1)]))
    assert drawn[::2] == drawn[1::2]
    assert len(set(drawn)) == 3
    assert tiny.model[1].num_batches_tracked == 3
    # x = .4, .8: mean .6; the running mean starts at 0 and moves a tenth of the way each time
    assert tiny.model[1].running_mean.item() == pytest.approx(0.6 * (1 - 0.9**3), rel=1e-5)


def test_label_smoothing_smooths_every_cross_entropy(tiny: Tiny) -> None:
    method = NegGradPlus(tiny.model, SGD, forget_weight=0.2, retain_weight=0.8, addons=[LabelSmoothing(0.3)])
    tiny.fit(method)

    def smooth(x: np.ndarray, y: np.ndarray) -> np.ndarray:  # 1 - .3 + .15 for the label, .15 for the other class
        other = gradient(W, x, 1 - y)
        return 0.85 * gradient(W, x, y) + 0.15 * other

    close(tiny, W - LR * (0.8 * smooth(*RETAIN) - 0.2 * smooth(*FORGET)))


def test_parameter_noise_has_the_temperature(tiny: Tiny) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(200, 200, bias=False)
    before = layer.weight.detach().clone()
    addon = ParameterNoise(temperature=0.02)
    with torch.no_grad():
        addon.after_step(None, torch.optim.SGD(layer.parameters(), lr=0.25))
    noise = layer.weight.detach() - before
    assert noise.std().item() == pytest.approx((2 * 0.25 * 0.02) ** 0.5, rel=0.02)
    assert abs(noise.mean().item()) < 2e-3
    tiny.fit(FineTune(tiny.model, SGD, addons=[ParameterNoise(1e-12)]))
    assert (tiny.weight - torch.tensor(W - LR * gradient(W, *RETAIN))).abs().max() < 1e-5


# Frozen means frozen


def wide() -> Tiny:
    """A network of 67 weights on the data of ``Tiny``."""
    torch.manual_seed(1)
    tiny = Tiny()
    tiny.model = nn.Sequential(nn.Flatten(), nn.Linear(1, 13), nn.BatchNorm1d(13), nn.ReLU(), nn.Linear(13, 2))
    return tiny


def flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize(
    "optimizer",
    [MOMENTUM, functools.partial(torch.optim.Adam, lr=0.01, weight_decay=0.1), torch.optim.AdamW],
    ids=["momentum", "adam", "adamw"],
)
@pytest.mark.parametrize(
    "others",
    [lambda: [], lambda: [Focus(), L1(0.01), ParameterNoise(1e-4)], lambda: [SAM(0.1)]],
    ids=["alone", "noisy", "sam"],
)
def test_saliency_leaves_the_other_weights_bit_equal(optimizer, others: Callable[[], list[Addon]]) -> None:
    tiny = wide()
    before = flat(tiny.model)
    saliency = Saliency(keep=0.3)
    method = NegGradPlus(tiny.model, optimizer, epochs=8, forget_weight=0.05, addons=[saliency, *others()])
    tiny.fit(method)
    equal = flat(tiny.model) == before
    assert saliency.frozen.sum() >= 0.7 * len(before) - 1
    assert torch.equal(equal[saliency.frozen], torch.ones_like(equal[saliency.frozen]))
    assert not equal[~saliency.frozen].any()
    states = [method.trainer.optimizers[0].state[p] for p in tiny.model.parameters()]
    moments = torch.cat([(s["exp_avg"] if "exp_avg" in s else s["momentum_buffer"]).flatten() for s in states])
    assert moments[~saliency.frozen].all()
    assert not moments[saliency.frozen].any()


def test_batch_saliency_holds_in_each_step_what_its_forget_batch_spares(tiny: Tiny) -> None:
    tiny.model[1] = nn.Linear(1, 4, bias=False)
    method = NegGradPlus(tiny.model, MOMENTUM, addons=[BatchSaliency(keep=0.5)])
    tiny.fit(method)
    optimizer = method.trainer.optimizers[0]
    weight = tiny.model[1].weight
    addon = method.addons[0]

    def step(*forget: float) -> Tensor:
        """How the weights move in a step with that gradient of the forget batch, and any combined gradient."""
        before = weight.detach().clone().flatten()
        combined = addon.combine(method, torch.ones(4), {"forget": torch.tensor(forget)})
        weight.grad = combined.view(4, 1).clone()
        addon.on_before_optimizer_step(None, method, optimizer)
        optimizer.step()
        return weight.detach().flatten() - before

    assert (step(3.0, -4.0, 1.0, 0.5) != 0).tolist() == [True, True, False, False]
    assert (step(3.0, -1.0, 2.0, 0.5) != 0).tolist() == [True, False, True, False]
    assert (optimizer.state[weight]["momentum_buffer"].flatten() != 0).tolist() == [True, False, True, False]
    assert torch.stack(method.curves["saliency_batch/mask_ratio"]).tolist() == [0.5] * 3


@pytest.mark.parametrize("order", [1, -1])
def test_saliency_chooses_among_the_weights_that_pruning_leaves(tiny: Tiny, order: int) -> None:
    # A fixed layer has outputs (8, 4, 2, 1) x. The gradient of the weight from its output j to class k is (p_k - y_k)
    # times that output; as p_1 - y_1 = -(p_0 - y_0), its size is the same for both classes and falls with j.
    tiny.model = nn.Sequential(nn.Flatten(), nn.Linear(1, 4, bias=False), nn.Linear(4, 2, bias=False))
    tiny.model[1].weight.requires_grad_(False).copy_(torch.tensor([[8.0], [4.0], [2.0], [1.0]]))
    pruned = torch.tensor([[0.0, 0.0, 0.125, 0.125], [0.0, 0.0, -0.125, -0.125]])
    with torch.no_grad():
        tiny.model[2].weight.copy_(pruned)[:, :2] = 0.0625
    addons = [Prune("l1", rate=0.5), Saliency(keep=0.5)][::order]
    tiny.fit(NegGradPlus(tiny.model, MOMENTUM, epochs=3, forget_weight=0.5, addons=addons))
    # Half of the four weights that are left, not of all eight, whose two largest gradients j = 0 and 1 have.
    assert (tiny.model[2].weight != pruned).tolist() == [[False, False, True, False]] * 2


def test_batch_saliency_chooses_in_each_step_among_the_weights_that_pruning_leaves(tiny: Tiny) -> None:
    weights = torch.tensor([0.1, 1.0, 0.2, 2.0, 0.3, 3.0, 0.4, 4.0])
    tiny.model[1] = nn.Linear(1, 8, bias=False)
    with torch.no_grad():
        tiny.model[1].weight.copy_(weights[:, None])
    still = functools.partial(torch.optim.SGD, lr=0.0)
    method = NegGradPlus(tiny.model, still, addons=[BatchSaliency(keep=0.5), Prune("l1", rate=0.5)])
    tiny.fit(method)  # prunes those below 1
    addon = next(a for a in method.addons if isinstance(a, BatchSaliency))

    def moves(*forget: float) -> list[int]:
        return addon.combine(method, torch.ones(8), {"forget": torch.tensor(forget)}).nonzero().flatten().tolist()

    # Two of four are free to move, whatever the gradients of those at 0, 2, 4 and 6.
    assert moves(9.0, 1.0, -9.0, -4.0, 9.0, 2.0, 9.0, 3.0) == [3, 7]
    assert moves(9.0, 4.0, -9.0, -1.0, 9.0, 3.0, 9.0, 2.0) == [1, 5]
    assert torch.stack(method.curves["saliency_batch/mask_ratio"]).tolist() == [0.25] * 3


def test_l1_pruning_zeroes_the_smallest_weights_for_good(tiny: Tiny) -> None:
    tiny.fit(FineTune(tiny.model, MOMENTUM, epochs=4, addons=[Prune("l1", rate=0.5), ParameterNoise(0.1)]))
    assert tiny.weight[0] == 0.0  # .5 against -1
    assert tiny.weight[1] not in (0.0, -1.0)


def test_pruning_ranks_all_layers_together_and_spares_vectors() -> None:
    tiny = wide()
    weights = torch.cat([p.detach().flatten() for p in tiny.model.parameters() if p.ndim > 1]).abs()
    vectors = torch.cat([p.detach().flatten() for p in tiny.model.parameters() if p.ndim == 1])
    tiny.fit(FineTune(tiny.model, functools.partial(torch.optim.SGD, lr=0.0), addons=[Prune("l1", rate=0.25)]))
    after = torch.cat([p.detach().flatten() for p in tiny.model.parameters() if p.ndim > 1])
    assert int((after == 0).sum()) == round(0.25 * 39) == 10
    assert weights[after == 0].max() <= weights[after != 0].min()
    assert torch.equal(vectors, torch.cat([p.detach().flatten() for p in tiny.model.parameters() if p.ndim == 1]))


def test_random_pruning_prunes_as_many_whatever_their_size() -> None:
    tiny = wide()
    tiny.fit(FineTune(tiny.model, SGD, addons=[Prune("random", rate=0.5)]))
    pruned = torch.cat([(p == 0).flatten() for p in tiny.model.parameters() if p.ndim > 1])
    assert int(pruned.sum()) == round(0.5 * 39)
    others = [Prune("l1", rate=0.5), Prune("random", rate=0.5)]
    found = [pruned]
    for seed, addon in enumerate(others):  # the smallest, and others at random by another seed
        again = wide()
        torch.manual_seed(seed + 1)
        again.fit(FineTune(again.model, SGD, addons=[addon]))
        found.append(torch.cat([(p == 0).flatten() for p in again.model.parameters() if p.ndim > 1]))
    assert len({tuple(chosen.tolist()) for chosen in found}) == 3


@pytest.mark.parametrize(("keep", "frozen"), [(0.9, 1), (0.5, 5), (1.0, 0)])
def test_saliency_keeps_as_many_as_it_says_however_alike_they_are(keep: float, frozen: int) -> None:
    free = torch.ones(10, dtype=torch.bool)
    assert least(torch.ones(10), free, keep).sum() == frozen
    assert least(torch.arange(10.0), free, keep).tolist() == [True] * frozen + [False] * (10 - frozen)


def test_a_penalty_in_no_epoch_is_refused(tiny: Tiny) -> None:
    with pytest.raises(UserError, match=r"addon\.l1\.free=3 leaves none of the 3 epochs"):
        tiny.fit(FineTune(tiny.model, SGD, epochs=3, addons=[L1(free=3)]))


@pytest.mark.parametrize("rounds", [1, 10])
def test_synflow_prunes_whole_paths(rounds: int) -> None:
    # 1 -> 2 -> 1: the paths carry |1 * 3| = 3 and |-4 * .5| = 2, and so score all their weights; magnitude would prune
    # the 1 and the .5.
    model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0], [-4.0]]))
        model[1].weight.copy_(torch.tensor([[3.0, 0.5]]))
    before = copy.deepcopy(model.state_dict())
    pruned = synflow(model, (1,), torch.ones(4, dtype=torch.bool), rate=0.5, rounds=rounds)
    assert pruned.tolist() == [False, True, False, True]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("make", [tiny_swin, tiny_vit])
def test_synflow_leaves_no_layer_of_a_transformer_empty(make: Callable[[], nn.Module]) -> None:
    """Of attention and GELU half of the signed scores are negative; the share of a layer that is left is not 0."""
    model = make()
    matrices = {n: m.weight for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    chosen = synflow(model, (1, 16, 16), prunable(model), rate=0.5, rounds=20)
    by_weight = dict(zip(trainable(model), parts(chosen, trainable(model)), strict=True))
    assert all(by_weight[weight].float().mean() < 0.99 for weight in matrices.values())
    others = [part for weight, part in by_weight.items() if not any(weight is matrix for matrix in matrices.values())]
    assert not torch.cat([part.flatten() for part in others]).any()  # neither embeddings nor tables of positions


def test_what_pruning_trained_is_what_saliency_holds() -> None:
    still = functools.partial(torch.optim.SGD, lr=0.0)
    found = []
    for order in (1, -1):
        tiny = wide()
        torch.manual_seed(0)
        addons = [MagnitudePruning(rate=0.5, epochs=2, lr=0.1), Saliency(keep=0.5)][::order]
        method, after = NegGradPlus(tiny.model, still, addons=addons), []
        method.on_train_epoch_start = lambda model=tiny.model, after=after: after.append(flat(model).clone())
        tiny.fit(method)
        assert torch.equal(flat(tiny.model), after[0])  # a step of no length changes nothing
        found.append(after[0])
    assert torch.equal(*found)


def test_omp_trains_what_is_left_on_all_data(tiny: Tiny) -> None:
    still = functools.partial(torch.optim.SGD, lr=0.0)
    tiny.fit(FineTune(tiny.model, still, addons=[MagnitudePruning(rate=0.5, epochs=2, lr=0.4)]))
    x, y = np.concatenate([FORGET[0], RETAIN[0]]), np.concatenate([FORGET[1], RETAIN[1]])
    w, momentum = -1.0, 0.0
    for rate in (0.4, 0.2):  # half a cosine: (1 + cos 0) / 2 and (1 + cos(pi / 2)) / 2
        momentum = 0.9 * momentum + gradient(np.array([0.0, w]), x, y)[1] + 5e-4 * w
        w -= rate * momentum
    close(tiny, np.array([0.0, w]))


def test_omp_trains_on_batches_of_the_size_that_steps_draw(tiny: Tiny) -> None:
    sizes: list[int] = []
    tiny.model.register_forward_hook(lambda *call: sizes.append(len(call[-1])))
    addon = MagnitudePruning(rate=0.5, epochs=2)
    tiny.fit(FineTune(tiny.model, SGD, batch_size=3, addons=[addon]))
    assert sizes == [3, 3, 2]  # of four samples, without the lone last one, twice; then the two of the retain set


class Rewound(Tiny):
    """``Tiny`` whose original model started from the weights .3 and -.2."""

    def task(self) -> Task:
        return dataclasses.replace(super().task(), original_start=lambda: Tiny((0.3, -0.2)).model)


def test_omp_rewinds_the_weights_that_are_left() -> None:
    tiny = Rewound()  # the model's weights are .5 and -1, so the first is pruned
    still = functools.partial(torch.optim.SGD, lr=0.0)
    addon = MagnitudePruning(rate=0.5, epochs=1, lr=0.4, rewind="weights")
    tiny.fit(FineTune(tiny.model, still, addons=[addon]))
    x, y = np.concatenate([FORGET[0], RETAIN[0]]), np.concatenate([FORGET[1], RETAIN[1]])
    w = -0.2
    close(tiny, np.array([0.0, w - 0.4 * (gradient(np.array([0.0, w]), x, y)[1] + 5e-4 * w)]))


def test_rewinding_needs_to_know_the_start(tiny: Tiny) -> None:
    with pytest.raises(UserError, match=r"of pretrain\.checkpoint are not known: take rewind=rate"):
        tiny.fit(FineTune(tiny.model, SGD, addons=[MagnitudePruning(rewind="weights")]))


def test_the_start_of_the_original_is_what_its_training_began_with(places: list[str]) -> None:
    config, _ = composed("seed=3", "pretrain.epochs=1", "pretrain.optimizer.lr=0", *places)
    run = pipeline.Run(config, Path(places[0]))
    trained, start = run.reference("original").network, run.task.original_start()
    assert all(torch.equal(p, q) for p, q in zip(trained.parameters(), start.parameters(), strict=True))


def test_imp_leaves_the_same_share_in_each_round(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of 39 weights .25 remain after two rounds and so .5 after one: 19.5, which is rounded to 20 pruned.
    pruned = []
    monkeypatch.setattr(MagnitudePruning, "train", lambda addon, *_: pruned.append(addon.frozen))
    tiny = wide()
    tiny.fit(FineTune(tiny.model, SGD, addons=[MagnitudePruning(rate=0.75, rounds=2)]))
    assert [int(chosen.sum()) for chosen in pruned] == [20, 29]
    assert (pruned[1] | ~pruned[0]).all()  # what is pruned stays pruned


# State


STACKS = {
    "focus": lambda: [Focus(), L1(1e-3)],
    "centred prob": lambda: [Prob(centred=True)],
    "focus_opt": lambda: [FocusOpt("tensor")],
    "bernoulli and noise": lambda: [Bernoulli(), ParameterNoise(1e-4)],
    "saliency": lambda: [Saliency(0.4)],
    "prune and sam": lambda: [Prune("random", 0.3), SAM(0.1)],
    "focal and batch saliency": lambda: [Focal(), BatchSaliency(0.6), LabelSmoothing()],
}


@pytest.mark.parametrize("stack", STACKS)
def test_addons_take_the_same_steps_on_the_same_batches_after_a_checkpoint(stack: str, tmp_path: Path) -> None:
    """Whatever the seed is then: the generators of add-ons are in it. A batch is a whole set, so its order is none."""

    class Save(L.Callback):
        def on_train_epoch_end(self, trainer: L.Trainer, method: L.LightningModule) -> None:
            if trainer.current_epoch == 2:
                trainer.save_checkpoint(tmp_path / "middle.ckpt")

    def fit(seed: int, save: bool) -> Tensor:
        tiny = wide()
        torch.manual_seed(seed)
        method = NegGradPlus(tiny.model, MOMENTUM, epochs=6, forget_weight=0.1, addons=STACKS[stack]()).double()
        config = {"trainer": {"_target_": "lightning.Trainer", "accelerator": "cpu", "precision": "64-true"}}
        trainer = build.trainer(config, 6, [Save()] if save else [])
        data = UnlearningData(tiny.data, tiny.split, tiny.task())
        trainer.fit(method, datamodule=data, ckpt_path=None if save else tmp_path / "middle.ckpt")
        assert len(method.curves["forget_loss"]) == (6 if save else 3)
        return flat(tiny.model)

    whole = fit(seed=5, save=True)
    torch.testing.assert_close(fit(seed=6, save=False), whole, rtol=1e-9, atol=1e-12)


# Which method takes which add-on


BOTH = [name for name in names("addon") if name in ("opt", "prob", "and", "focus", "focus_opt", "bernoulli", "focal")]


@pytest.mark.parametrize("method", ["finetune", "jit", "amnesiac", "scrub", "emmn", "retrain", "gradient_ascent"])
def test_addons_for_two_gradients_refuse_a_method_with_one(method: str, places: list[str]) -> None:
    assert len(BOTH) == 7
    for addon in BOTH:
        config, _ = composed(f"method={method}", f"addon=[{addon}]", *places)
        with pytest.raises(UserError, match="needs a forget batch and a retain batch in every step"):
            build.method(config, nn.Linear(2, 2))


def test_addons_say_what_they_lack(places: list[str]) -> None:
    for method, addon, message in [
        ("finetune", "saliency_batch", "needs a forget batch in every step, and FineTune takes a retain batch"),
        ("scrub", "saliency_batch", "needs a forget batch in every step, and Scrub takes a forget batch"),
        ("jit", "label_smoothing", "JiT sees no labels"),
        ("gkt", "label_smoothing", "GKT sees no labels"),
    ]:
        config, _ = composed(f"method={method}", f"addon=[{addon}]", *places)
        with pytest.raises(UserError, match=message):
            build.method(config, nn.Linear(2, 2))


@pytest.mark.parametrize("method", ["scrub", "scrub_joint"])
def test_label_smoothing_refuses_scrub_without_cross_entropy(method: str, places: list[str]) -> None:
    def make(gamma: float) -> None:
        config, _ = composed(f"method={method}", "addon=[label_smoothing]", f"method.gamma={gamma}", *places)
        build.method(config, nn.Linear(2, 2))

    make(0.1)
    message = r"label_smoothing has nothing to smooth: Scrub(Joint)? has no cross-entropy with method\.gamma=0: set it"
    with pytest.raises(UserError, match=message):
        make(0)


def test_scrub_without_forget_passes_takes_no_forget_batch(tiny: Tiny) -> None:
    assert Scrub(tiny.model, optimizer=SGD, msteps=0).always_draws == ("retain",)
