"""Influences by hand for softmax regression, and the samples that are dropped."""

import math
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from tests.by_hand import check_options, given
from tests.conftest import Tiny
from unlearning.addons.l1 import L1
from unlearning.errors import UserError
from unlearning.gradients.products import inner_products
from unlearning.methods import influence_filter
from unlearning.methods.influence_filter import InfluenceFilter
from unlearning.types import Batch

X, LABELS = (0.2, 1.0, 0.4, 0.8), (0, 1, 0, 1)


def made(tiny: Tiny, **options: object) -> InfluenceFilter:
    """The method, with its data for looks without a trainer."""
    options = {"optimizer": lambda p: torch.optim.SGD(p, 0.1), "batch_size": 2} | options
    method = InfluenceFilter(tiny.model.eval(), **options)
    given(tiny, method)
    return method


# Two classes: the gradient by w_1 is ``(p_1 - y) x`` and by w_0 its negative, so every product doubles. w = (.5, -1).
P = [1 / (1 + math.exp(1.5 * x)) for x in X]
G = [(p - y) * x for p, y, x in zip(P, LABELS, X, strict=True)]  # .085, -.82, .14, -.61


def test_influences_are_those_of_the_formula(tiny: Tiny) -> None:
    method = made(tiny, damping=0.5)
    squares = sum(g**2 for g in G) / 4  # the same for both weights, so it is their mean, too
    found = method.influences(torch.tensor([0, 1]))  # a forget sample of each label
    for row, own in zip(found.tolist(), G[:2], strict=True):
        assert row == pytest.approx([2 * own * g / (1.5 * squares) for g in G], rel=1e-5)


def test_samples_of_a_label_are_taken_together(tiny: Tiny) -> None:
    tiny.data.labels[0] = 1
    method = made(tiny, damping=0.5)
    g = [(P[0] - 1) * X[0], *G[1:]]
    squares = sum(g_i**2 for g_i in g) / 4
    (row,) = method.influences(torch.tensor([1, 1])).tolist()
    assert row == pytest.approx([2 * (g[0] + g[1]) * g_i / (1.5 * squares) for g_i in g], rel=1e-5)


@pytest.mark.parametrize(("threshold", "dropped"), [(0.7, [2, 3]), (1.0, [2]), (1.7, [])])
def test_what_is_like_the_forget_set_is_dropped_and_not_trained_on(tiny: Tiny, threshold: float, dropped: list) -> None:
    """Sample 2 pulls 1.64 times as much as sample 0 of its label, and sample 3 .74 times as much as sample 1."""
    tiny.split = replace(tiny.split, retain=torch.arange(2, 6), train=torch.arange(6))
    tiny.data = replace(
        tiny.data,
        inputs=torch.cat([tiny.data.inputs, tiny.data.inputs[:2] * 0 + 3]),  # too dark to pull at anything
        labels=torch.cat([tiny.data.labels, tiny.data.labels[:2]]),
    )
    method, seen = made(tiny, threshold=threshold, epochs=2, batch_size=4), []
    method.model.register_forward_pre_hook(lambda _, images: seen.append(sorted(images[0].flatten().tolist())))
    tiny.fit(method)
    assert method.repair.feed.left_out.tolist() == dropped
    assert method.curves["dropped"][0].item() == len(dropped)
    kept = pytest.approx([3 / 255] * 2 + [X[i] for i in (2, 3) if i not in dropped])
    assert seen[-2:] == [kept, kept]
    assert len(method.curves["retain_loss"]) == 2
    assert method.access == {"forget": "inputs and labels", "retain": "inputs and labels"}


@pytest.mark.parametrize(("threshold", "warned"), [(0.7, True), (1.0, False)])
def test_a_filter_that_drops_most_samples_says_so(tiny: Tiny, threshold: float, warned: bool) -> None:
    """Two of three retain samples, 2 and 3, or one; see above."""
    tiny.split = replace(tiny.split, retain=torch.arange(2, 5), train=torch.arange(5))
    dark = tiny.data.inputs[:1] * 0 + 3
    tiny.data = replace(
        tiny.data, inputs=torch.cat([tiny.data.inputs, dark]), labels=torch.cat([tiny.data.labels, torch.tensor([0])])
    )
    dropped = len(made(tiny, threshold=threshold, most=0.9).filtered())
    assert dropped == (2 if warned else 1)
    remarks = InfluenceFilter.remarks({"dropped": dropped}, {"threshold": threshold}, {"retain": 3})
    assert [("2 of 3" in remark) for remark in remarks] == [True] * warned
    if warned:
        with pytest.raises(UserError) as refused:
            made(tiny, threshold=threshold).filtered()
        assert refused.value.key == "method.threshold"


def test_the_schedule_is_that_of_the_steps_that_are_left(tiny: Tiny) -> None:
    steps: list[int] = []

    def schedule(optimizer: torch.optim.Optimizer, per_epoch: int, epochs: int) -> LRScheduler:
        steps.append(per_epoch)
        return LambdaLR(optimizer, lambda step: 1.0)

    method = made(tiny, threshold=1.0, batch_size=1, epochs=3, schedule=schedule)
    tiny.fit(method)
    assert steps[-1] == 1  # of two samples one is dropped
    assert len(method.curves["retain_loss"]) == 3


@pytest.mark.parametrize(
    ("option", "wrong", "kind"),
    [
        ("threshold", 0.0, "value"),
        ("damping", 0.0, "value"),
        ("scores", "exact", "value"),
        ("forget_weight", 2.0, "key"),  # it trains on the retain set alone
    ],
)
def test_options_that_make_no_sense_are_refused(option: str, wrong: object, kind: str) -> None:
    with pytest.raises(UserError) as raised:
        check_options(InfluenceFilter, **{option: wrong})
    assert (raised.value.key, raised.value.kind) == (f"method.{option}", kind)


def test_add_ons_change_the_steps_of_the_training(tiny: Tiny) -> None:
    """With a rate of 1 and a penalty of .25 |w|, two steps end .25 (sign w) lower each than without the penalty."""
    ends = []
    for addons in ([], [L1(0.25)]):
        again, seen = Tiny(), []
        method = made(again, threshold=100.0, optimizer=lambda p: torch.optim.SGD(p, 1.0), addons=addons)
        method.repair.on_train_epoch_start = lambda seen=seen, again=again: seen.append(again.weight)
        again.fit(method)
        ends.append((seen[0], again.weight))
    (start, plain), (same, penalised) = ends
    assert torch.equal(start, same)
    torch.testing.assert_close(penalised, plain - 0.25 * start.sign())


def test_a_filter_that_leaves_nothing_is_refused(tiny: Tiny) -> None:
    tiny.data.inputs[2:] = 255  # both retain samples now pull as sample 1 does
    tiny.data.labels[2:] = 1
    with pytest.raises(UserError) as raised:
        tiny.fit(made(tiny))
    assert raised.value.key == "method.threshold"


@pytest.mark.parametrize("scores", ["diagonal", pytest.param("ekfac", marks=pytest.mark.slow)])
def test_a_model_without_any_gradient_has_no_influences(scores: str) -> None:
    if scores == "ekfac":
        pytest.importorskip("kronfluence")
    tiny = Tiny(weight=(1000.0, -1000.0))
    tiny.data.labels[:] = 0  # of which it is so sure that p_0 is 1, and the gradients 0
    method = made(tiny, scores=scores)
    method.count_passes()
    with method.meter.running(), pytest.raises(UserError) as raised:
        method.filtered()
    assert raised.value.key == "pretrain.epochs"


def conv_net() -> nn.Module:
    """Three layers that EK-FAC follows, with and without bias, stride and padding; and BatchNorm, which it does not."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.CELU(), nn.Conv2d(3, 2, 3, stride=2, bias=False)]
    return nn.Sequential(*layers, nn.CELU(), nn.Flatten(), nn.Linear(8, 3)).eval()


def test_inner_products_are_those_of_each_samples_gradient() -> None:
    model, batch = conv_net().double(), Batch(torch.rand(5, 1, 6, 6).double(), torch.arange(5) % 3, None, None)
    weights = [model[0].bias, model[3].weight, model[1].weight, model[6].weight]
    vectors = {weight: torch.randn(2, *weight.shape).double() for weight in weights}
    found = inner_products(model, batch, vectors)
    for sample in range(5):
        loss = nn.functional.cross_entropy(model(batch.images[sample : sample + 1]), batch.labels[sample : sample + 1])
        gradients = torch.autograd.grad(loss, weights)
        for k in range(2):
            expected = sum((g * vectors[w][k]).sum() for w, g in zip(weights, gradients, strict=True))
            assert found[sample, k].item() == pytest.approx(expected.item(), rel=1e-9)


def test_labels_are_taken_a_part_at_a_time_where_their_gradients_are_large(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = made(tiny)
    together = method.influences(torch.tensor([0, 1]))
    monkeypatch.setattr(influence_filter, "HELD", 1)
    torch.testing.assert_close(method.influences(torch.tensor([0, 1])), together)


def test_ekfac_without_its_library_is_refused(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kronfluence", None)
    with pytest.raises(UserError) as raised:
        made(tiny, scores="ekfac")
    assert (raised.value.key, raised.value.kind) == ("method.scores", "missing")
    made(tiny)


def test_ekfac_in_several_processes_is_refused(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(influence_filter, "find_spec", lambda _: True)
    monkeypatch.setattr(influence_filter, "several", lambda: True)
    with pytest.raises(UserError) as raised:
        made(tiny, scores="ekfac")
    assert (raised.value.key, raised.value.kind) == ("method.scores", "conflict")
