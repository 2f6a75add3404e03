"""Boundary Expand, and the enhanced Boundary Shrink: steps by hand, and forgetting on the digits."""

import copy
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import Tensor, nn

from tests.by_hand import FORGET, LR, SGD, STILL, W, close, probabilities
from tests.conftest import Tiny, tiny_vit
from tests.digits import rows
from unlearning.addons.base import Addon
from unlearning.errors import UserError
from unlearning.gradients.sign_attack import Box, SignAttack
from unlearning.methods.boundary_expand import BoundaryExpand
from unlearning.methods.enhanced_shrink import EnhancedShrink, crossing
from unlearning.methods.langevin import Langevin
from unlearning.types import Batch

FGSM = SignAttack(radius=0.1)


def test_expand_descends_towards_a_third_class_and_drops_it(tiny: Tiny) -> None:
    method = BoundaryExpand(tiny.model, optimizer=SGD)
    torch.manual_seed(3)
    extra = nn.Linear(1, 1, bias=False).weight.item()  # as the method draws it
    tiny.fit(method, seed=3)
    x, _ = FORGET
    error = softmax(np.outer(x, [*W, extra]), axis=1) - np.array([0, 0, 1])
    close(tiny, W - LR * (error * x[:, None]).mean(0)[:2])
    head = tiny.model[1]
    assert (head.weight.shape, head.out_features) == ((2, 1), 2)
    assert tiny.model(torch.zeros(3, 1, 1, 1)).shape == (3, 2)
    assert method.access == {"forget": "inputs"}


class Split(Addon):
    """Has the method compute its gradients itself."""

    splits_gradients = True


@pytest.mark.parametrize("addons", [list, lambda: [Split()]], ids=["alone", "split gradients"])
def test_the_additional_row_learns_as_the_others_do(tiny: Tiny, addons: Callable[[], list[Addon]]) -> None:
    """In three steps of softmax regression with three classes, of which the original knows two."""
    method = BoundaryExpand(tiny.model, optimizer=SGD, epochs=3, forget_weight=0.6, addons=addons())
    torch.manual_seed(3)
    weights = np.array([*W, nn.Linear(1, 1, bias=False).weight.item()])
    tiny.fit(method, seed=3)
    x, _ = FORGET
    for _ in range(3):
        error = softmax(np.outer(x, weights), axis=1) - np.array([0, 0, 1])
        weights = weights - LR * 0.6 * (error * x[:, None]).mean(0)
    close(tiny, weights[:2])
    assert method.extra.weight.item() == pytest.approx(weights[2], rel=1e-5)


class HeadFirst(nn.Module):
    """Registers its head before the layer that it calls first, of as many outputs as there are classes."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.body = nn.Linear(2, 2, bias=False), nn.Linear(1, 2, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.head(self.body(images.flatten(1)))
        return found


def test_the_head_is_the_layer_that_is_called_last(tiny: Tiny) -> None:
    torch.manual_seed(0)
    tiny.model = HeadFirst()
    method = BoundaryExpand(tiny.model, optimizer=STILL)
    method.check(tiny.problem.task)
    tiny.fit(method)
    assert method.heads == [tiny.model.head]
    assert method.extra.in_features == 2


def test_expand_keeps_a_bias_and_what_the_guard_asks_for(tiny: Tiny) -> None:
    tiny.model[1] = nn.Linear(1, 2)
    other = copy.deepcopy(tiny)
    before = tiny.model.state_dict()["1.bias"].clone()
    tiny.fit(BoundaryExpand(tiny.model, optimizer=SGD, epochs=50, keep=0.9))
    other.fit(BoundaryExpand(other.model, optimizer=SGD, epochs=50))
    assert tiny.model[1].bias.shape == (2,)
    guarded, free = ((one.model[1].bias - before).norm() for one in (tiny, other))
    assert 0 < guarded < 0.2 * free


def test_expand_refuses_a_network_without_a_head(tiny: Tiny) -> None:
    ends = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten()), nn.Sequential(nn.Flatten(), nn.Linear(1, 5), nn.ReLU())
    for network in ends:
        with pytest.raises(UserError):
            BoundaryExpand(network).check(tiny.problem.task)


def test_a_sample_counts_by_how_clearly_its_attack_succeeds() -> None:
    probabilities = torch.tensor([[0.1, 0.6, 0.3], [0.9, 0.06, 0.04]])
    expected = [3 / (1 + np.exp(-5 * (gap - 0.5))) for gap in (0.5, -0.84)]
    np.testing.assert_allclose(crossing(probabilities.log(), torch.tensor([0, 0])), expected, rtol=1e-5)


def test_the_enhanced_loss_is_weighted_and_bent(tiny: Tiny) -> None:
    """For f = w x the slope of CE is s(x) = sum_c (p_c(x) - y'_c) w_c, and z is its sign."""
    method = EnhancedShrink(tiny.model, optimizer=STILL, attack=FGSM, curvature=0.7, reach=0.2)
    method.attacked.box = Box(torch.zeros(1, 1, 1), torch.ones(1, 1, 1))
    x, y = FORGET
    attacked = probabilities(W, np.array([0.1, 1.0]))
    own, other = attacked[[0, 1], y], attacked[[0, 1], 1 - y]
    weights = 3 / (1 + np.exp(-5 * (other - own - 0.5)))

    def slope(points: np.ndarray) -> np.ndarray:
        return ((probabilities(W, points) - np.eye(2)[[0, 0]]) * W).sum(1)  # both are taught class 0

    bend = (slope(x + 0.2 * np.sign(slope(x))) - slope(x)) ** 2
    expected = (weights * -np.log(probabilities(W, x)[:, 0])).mean() + 0.7 * bend.mean()
    images = torch.tensor(x, dtype=torch.float32).view(2, 1, 1, 1)
    batch = Batch(images, torch.tensor(y), torch.arange(2), torch.ones(2, dtype=torch.bool))
    assert method.forget_loss(batch).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", [BoundaryExpand, Langevin, EnhancedShrink])
def test_a_transformer_without_batch_norm(kind: type) -> None:
    """Attention needs a second derivative where curvature is penalised."""
    torch.manual_seed(0)
    model = tiny_vit()
    method = kind(model, optimizer=SGD, **({} if kind is BoundaryExpand else {"attack": FGSM}))
    if kind is BoundaryExpand:
        task = replace(Tiny().problem.task, input_shape=(1, 16, 16), num_classes=4)
        method.data = SimpleNamespace(task=task)
        method.setup("fit")
    else:
        one = torch.ones(1, 1, 1)
        method.attacked.box = Box(-one, one)
    images = torch.rand(3, 1, 16, 16).double()
    batch = Batch(images, torch.arange(3), torch.arange(3), torch.ones(3, dtype=torch.bool))
    method.forget_loss(batch).backward()
    gradients = [p.grad for p in model.parameters()]
    assert all(g is not None and g.isfinite().all() for g in gradients)
    assert any(g.abs().sum() > 0 for g in gradients)


@pytest.mark.slow
def test_expand_forgets_most_of_a_class_of_the_digits(places: list[str]) -> None:
    found = rows(places, "method=boundary_expand")
    assert found["original"]["forget/acc"] == 1
    assert found["unlearned"]["forget/acc"] <= 0.25
    assert found["unlearned"]["retain/acc"] >= 0.95


@pytest.mark.slow
def test_the_enhanced_shrink_forgets_a_class_of_the_digits(places: list[str]) -> None:
    """A curvature of .7, the default, is the larger part of the loss on 8 x 8 pixels: it leaves .11 of the rest."""
    found = rows(places, "method=enhanced_shrink")
    assert found["original"]["forget/acc"] == 1
    assert found["unlearned"]["forget/acc"] <= 0.1
    assert found["unlearned"]["retain/acc"] >= 0.95
