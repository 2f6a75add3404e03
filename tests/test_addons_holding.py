"""Add-ons that hold weights: saliency, alone, with noise and momentum, and beside pruning."""

import functools
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.by_hand import SGD
from tests.conftest import Tiny
from unlearning.addons.base import Addon
from unlearning.addons.focus import Focus
from unlearning.addons.l1 import L1
from unlearning.addons.magnitude_pruning import MagnitudePruning
from unlearning.addons.parameter_noise import ParameterNoise
from unlearning.addons.prune import Prune
from unlearning.addons.saliency import Saliency, least
from unlearning.addons.saliency_batch import BatchSaliency
from unlearning.addons.sam import SAM
from unlearning.errors import UserError
from unlearning.methods.bad_teacher import BadTeacher
from unlearning.methods.neggrad_plus import NegGradPlus
from unlearning.types import Batch, Networks

MOMENTUM = functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.1)


def wide() -> Tiny:
    """``Tiny`` with a network of 80 weights on the same data: 39 in matrices, 41 in vectors."""
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
    [list, lambda: [Focus(), L1(0.01), ParameterNoise(1e-4)], lambda: [SAM(0.1)]],
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


def test_the_mask_of_saliency_is_of_the_original_model() -> None:
    """The forget set's gradient is ``-+ sum r x`` for weights and ``-+ sum r`` for biases, with ``r = p_0 - [y = 0]``.

    For the original, p_0 is .574 at x = .2 and .818 at x = 1: .733 and .392. A new network has .151 and .766.
    """
    tiny = Tiny()

    def network(*weight: float) -> nn.Module:
        layer = nn.Linear(1, 2)
        layer.load_state_dict({"weight": torch.tensor(weight)[:, None], "bias": torch.zeros(2)})
        return nn.Sequential(nn.Flatten(), layer)

    tiny.model = network(0.5, -1.0)
    tiny.networks = lambda: Networks(lambda: network(-3.0, 3.0), lambda: network(-3.0, 3.0))
    saliency = Saliency(keep=0.5)
    tiny.fit(BadTeacher(tiny.model, retain_share=1.0, optimizer=MOMENTUM, addons=[saliency]))  # has a new network
    assert saliency.frozen.tolist() == [False, False, True, True]  # the biases


class Steps:
    """The steps of an optimiser on four weights, whose gradients and masks are given.

    The combined gradient is 1 everywhere before the mask.
    """

    def __init__(self, optimizer: Callable, **options: object) -> None:
        tiny = Tiny()
        tiny.model[1] = nn.Linear(1, 4, bias=False)
        self.method = NegGradPlus(tiny.model, optimizer, addons=[BatchSaliency(keep=0.5, of="loss", **options)])
        tiny.fit(self.method)
        self.weight, self.optimizer = tiny.model[1].weight, self.method.trainer.optimizers[0]
        self.optimizer.state.clear()

    def step(self, *forget: float) -> Tensor:
        """The change of the weights in a step with this forget gradient."""
        before = self.weight.detach().clone().flatten()
        (addon,) = self.method.addons
        combined = addon.combine(self.method, torch.ones(4), {"forget": torch.tensor(forget)})
        self.weight.grad = combined.view(4, 1).clone()
        addon.before_step(self.method)
        self.optimizer.step()
        return self.weight.detach().flatten() - before


def test_batch_saliency_holds_in_each_step_what_its_forget_batch_spares() -> None:
    steps = Steps(MOMENTUM)
    assert (steps.step(3.0, -4.0, 1.0, 0.5) != 0).tolist() == [True, True, False, False]
    assert (steps.step(3.0, -1.0, 2.0, 0.5) != 0).tolist() == [True, False, True, False]
    momentum = steps.optimizer.state[steps.weight]["momentum_buffer"]
    assert (momentum.flatten() != 0).tolist() == [True, False, True, False]
    assert torch.stack(steps.method.curves["saliency_batch/mask_ratio"]).tolist() == [0.5] * 3


@pytest.mark.parametrize(("hold", "moved"), [("gradients", 1.0), ("weights", 0.0)])
def test_where_gradients_alone_are_held_adams_momentum_moves_a_masked_weight(hold: str, moved: float) -> None:
    """The second step spares the second weight, whose moments of Adam are those of gradients 1 and 0."""
    steps, rate = Steps(functools.partial(torch.optim.Adam, lr=0.1), hold=hold), 0.1
    first, second = steps.step(3.0, -4.0, 1.0, 0.5), steps.step(3.0, -1.0, 2.0, 0.5)
    assert first.tolist() == pytest.approx([-rate, -rate, 0, 0], rel=1e-5)
    mean, square = 0.9 * 0.1 / (1 - 0.9**2), 0.999 * 0.001 / (1 - 0.999**2)
    by_momentum = rate * mean / square**0.5
    fresh = rate * (0.1 / (1 - 0.9**2)) / (0.001 / (1 - 0.999**2)) ** 0.5  # gradients 0 and 1
    assert second.tolist() == pytest.approx([-rate, -moved * by_momentum, -fresh, 0], rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("hold", ["gradients", "weights"])
def test_saliency_too_holds_weights_or_their_gradients(hold: str) -> None:
    """With nothing but weight decay to move it, a masked weight falls by its share in every step, or does not."""
    tiny = wide()
    before = flat(tiny.model)
    saliency = Saliency(keep=0.3, hold=hold)
    decay = functools.partial(torch.optim.SGD, lr=0.1, weight_decay=0.1)
    tiny.fit(NegGradPlus(tiny.model, decay, epochs=3, forget_weight=0.05, addons=[saliency]))
    left = 0.99**3 if hold == "gradients" else 1.0
    torch.testing.assert_close(flat(tiny.model)[saliency.frozen], left * before[saliency.frozen])


class OwnLoss(NegGradPlus):
    """Its forget loss has a gradient on the weight of class 2 alone."""

    def forget_loss(self, batch: Batch) -> Tensor:
        return self.model(batch.images)[:, 2].square().mean()


@pytest.mark.parametrize(("of", "moved"), [("cross_entropy", [True, True, False]), ("loss", [False, False, True])])
def test_batch_saliency_is_of_the_forget_batchs_true_labels_or_of_the_methods_loss(of: str, moved: list[bool]) -> None:
    """Labels are 0 and 1, so their cross-entropy depends least on the weight of class 2, which makes it improbable."""
    tiny = Tiny()
    tiny.model[1] = nn.Linear(1, 3, bias=False)
    with torch.no_grad():
        tiny.model[1].weight.copy_(before := torch.tensor([[0.5], [-1.0], [-9.0]]))
    method = OwnLoss(tiny.model, SGD, addons=[BatchSaliency(keep=0.67 if of == "cross_entropy" else 0.34, of=of)])
    tiny.fit(method)
    assert (tiny.model[1].weight != before).flatten().tolist() == moved


def test_batch_saliency_leaves_the_statistics_of_batchnorm_to_the_steps() -> None:
    """The step's two batches move them, and the further pass over the forget batch does not."""
    found = []
    for of in ("cross_entropy", "loss"):
        tiny = wide()
        tiny.fit(NegGradPlus(tiny.model, MOMENTUM, addons=[BatchSaliency(of=of)]))
        found.append(tiny.model[2].running_mean)
    assert torch.equal(*found)


def test_batch_saliency_needs_labels_for_their_cross_entropy(tiny: Tiny) -> None:
    method = NegGradPlus(tiny.model, SGD, addons=[BatchSaliency()])
    method.feed = replace(method.feed, labels=False)
    with pytest.raises(UserError) as caught:
        tiny.fit(method)
    assert (caught.value.key, caught.value.kind) == ("addon.saliency_batch.of", "conflict")


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
    method = NegGradPlus(tiny.model, still, addons=[BatchSaliency(keep=0.5, of="loss"), Prune("l1", rate=0.5)])
    tiny.fit(method)  # prunes those below 1
    addon = next(a for a in method.addons if isinstance(a, BatchSaliency))

    def moves(*forget: float) -> list[int]:
        return addon.combine(method, torch.ones(8), {"forget": torch.tensor(forget)}).nonzero().flatten().tolist()

    # Two of four are free to move, whatever the gradients of those at 0, 2, 4 and 6.
    assert moves(9.0, 1.0, -9.0, -4.0, 9.0, 2.0, 9.0, 3.0) == [3, 7]
    assert moves(9.0, 4.0, -9.0, -1.0, 9.0, 3.0, 9.0, 2.0) == [1, 5]
    assert torch.stack(method.curves["saliency_batch/mask_ratio"]).tolist() == [0.25] * 3


@pytest.mark.parametrize(("keep", "frozen"), [(0.9, 1), (0.5, 5), (1.0, 0)])
def test_saliency_keeps_as_many_as_it_says_however_alike_they_are(keep: float, frozen: int) -> None:
    free = torch.ones(10, dtype=torch.bool)
    assert least(torch.ones(10), free, keep).sum() == frozen
    assert least(torch.arange(10.0), free, keep).tolist() == [True] * frozen + [False] * (10 - frozen)


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
