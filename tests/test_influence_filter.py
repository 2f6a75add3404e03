"""Influences by hand for softmax regression, and what is dropped."""

import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from tests.conftest import Tiny, composed, tiny_swin
from unlearning.data.datamodule import UnlearningData
from unlearning.errors import UserError
from unlearning.gradients.samples import inner_products
from unlearning.methods import influence_filter
from unlearning.methods.influence_filter import InfluenceFilter
from unlearning.pipeline import Run
from unlearning.runtime.cost import Meter
from unlearning.types import Batch

X, LABELS = (0.2, 1.0, 0.4, 0.8), (0, 1, 0, 1)


def made(tiny: Tiny, **options: object) -> InfluenceFilter:
    options = {"optimizer": lambda p: torch.optim.SGD(p, 0.1), "batch_size": 2} | options
    return InfluenceFilter(tiny.model, **options)


def looking(method: InfluenceFilter, tiny: Tiny) -> None:
    """Give it its looks without a trainer."""
    data = UnlearningData(tiny.data, tiny.split, tiny.task())
    method.look = lambda stream: data.batches(stream, torch.device("cpu"))
    tiny.model.eval()


# Two classes: the gradient by w_1 is ``(p_1 - y) x`` and by w_0 its negative, so every product doubles. w = (.5, -1).
P = [1 / (1 + math.exp(1.5 * x)) for x in X]
G = [(p - y) * x for p, y, x in zip(P, LABELS, X, strict=True)]  # .085, -.82, .14, -.61


def test_influences_are_those_of_the_formula(tiny: Tiny) -> None:
    method = made(tiny, damping=0.5)
    looking(method, tiny)
    squares = sum(g**2 for g in G) / 4  # the same for both weights, so it is their mean, too
    found = method.influences(torch.tensor([0, 1]))  # a forget sample of each label
    for row, own in zip(found.tolist(), G[:2], strict=True):
        assert row == pytest.approx([2 * own * g / (1.5 * squares) for g in G], rel=1e-5)


def test_samples_of_a_label_are_taken_together(tiny: Tiny) -> None:
    tiny.data.labels[0] = 1
    method = made(tiny, damping=0.5)
    looking(method, tiny)
    g = [(P[0] - 1) * X[0], *G[1:]]
    squares = sum(g_i**2 for g_i in g) / 4
    (row,) = method.influences(torch.tensor([1, 1])).tolist()
    assert row == pytest.approx([2 * (g[0] + g[1]) * g_i / (1.5 * squares) for g_i in g], rel=1e-5)


@pytest.mark.parametrize(("threshold", "dropped"), [(0.7, [2, 3]), (1.0, [2]), (1.7, [])])
def test_what_is_like_the_forget_set_is_dropped_and_not_trained_on(tiny: Tiny, threshold: float, dropped: list) -> None:
    """Sample 2 pulls as sample 0 of its label does, 1.64 times as much, and 3 as 1, .74 times as much."""
    tiny.split = replace(tiny.split, retain=torch.arange(2, 6), train=torch.arange(6))
    tiny.data = replace(
        tiny.data,
        inputs=torch.cat([tiny.data.inputs, tiny.data.inputs[:2] * 0 + 3]),  # so dark that they pull at nothing
        labels=torch.cat([tiny.data.labels, tiny.data.labels[:2]]),
    )
    method, seen = made(tiny, threshold=threshold, epochs=2, batch_size=4), []
    method.model.register_forward_pre_hook(lambda _, images: seen.append(sorted(images[0].flatten().tolist())))
    tiny.fit(method)
    assert method.left_out.tolist() == dropped
    assert method.curves["dropped"][0].item() == len(dropped)
    kept = pytest.approx([3 / 255] * 2 + [X[i] for i in (2, 3) if i not in dropped])
    assert seen[-2:] == [kept, kept]
    assert len(method.curves["retain_loss"]) == 2
    assert method.access == {"forget": "inputs and labels", "retain": "inputs and labels"}


def test_the_schedule_is_that_of_the_steps_that_are_left(tiny: Tiny) -> None:
    steps: list[int] = []

    def schedule(optimizer: torch.optim.Optimizer, per_epoch: int, epochs: int) -> LRScheduler:
        steps.append(per_epoch)
        return LambdaLR(optimizer, lambda step: 1.0)

    method = made(tiny, threshold=1.0, batch_size=1, epochs=3, schedule=schedule)
    tiny.fit(method)
    assert steps[-1] == 1  # of two samples one is dropped
    assert len(method.curves["retain_loss"]) == 3


@pytest.mark.parametrize("wrong", [{"threshold": 0.0}, {"damping": 0.0}])
def test_senseless_options_are_refused(tiny: Tiny, wrong: dict) -> None:
    with pytest.raises(UserError, match="both must be above 0"):
        made(tiny, **wrong)


def test_a_filter_that_leaves_nothing_is_refused(tiny: Tiny) -> None:
    tiny.data.inputs[2:] = 255  # both retain samples now pull as sample 1 does
    tiny.data.labels[2:] = 1
    with pytest.raises(UserError, match=r"method.threshold=0.3 drops 2 of 2 retain samples: take a larger one"):
        tiny.fit(made(tiny))


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ("diagonal", "influences of 4 of 4 samples are not finite: .* pretrain.epochs"),
        ("ekfac", "EK-FAC: .* zero"),
    ],
)
def test_a_model_without_any_gradient_has_no_influences(scores: str, message: str) -> None:
    if scores == "ekfac":
        pytest.importorskip("kronfluence")
    tiny = Tiny(weight=(1000.0, -1000.0))
    tiny.data.labels[:] = 0  # of which it is so sure that p_0 is 1, and the gradients 0
    method = made(tiny, scores=scores)
    looking(method, tiny)
    method.count_passes()
    with method.meter.running(), pytest.raises(UserError, match=message):
        method.filtered()


def test_it_trains_on_the_retain_set_alone(tiny: Tiny) -> None:
    with pytest.raises(UserError, match=r"method.stream=train: influence_filter trains on the retain set alone"):
        made(tiny, stream="train")


# EK-FAC


def test_ekfac_influences_are_those_of_the_formula() -> None:
    """One input and two classes: the block has the eigenvectors (1, 1) and (1, -1), with 0 and the mean of squares.

    Without weights both classes are as likely, and a squared gradient is the same whichever label is drawn.
    """
    pytest.importorskip("kronfluence")
    tiny = Tiny(weight=(0.0, 0.0))
    method = made(tiny, scores="ekfac")
    looking(method, tiny)
    method.count_passes()
    with method.meter.running():
        found = method.influences(torch.tensor([0, 1]))
    g = [(0.5 - y) * x for x, y in zip(X, LABELS, strict=True)]
    eigenvalue = 2 * sum(0.25 * x**2 for x in X) / 4
    for row, own in zip(found.tolist(), g[:2], strict=True):
        expected = [2 * own * g_i / (eigenvalue + 0.1 * eigenvalue / 2) for g_i in g]
        assert row == pytest.approx(expected, rel=1e-4)
    assert method.meter.forward == 3 + 2 * 4 + 2 + 4  # a glance; two factors; the forget set; both labels at once


def test_a_dead_layer_has_no_part_in_ekfac_influences() -> None:
    """Behind a ReLU that lets nothing through two classes are as likely, and the second layer's bias alone moves them.

    Its gradients are (.5, -.5) and (-.5, .5), of squared length .5: the one eigenvalue of four that is not 0.
    """
    pytest.importorskip("kronfluence")
    tiny = Tiny()
    dead, last = nn.Linear(1, 3, bias=False), nn.Linear(3, 2)
    for parameter, value in ((dead.weight, -1.0), (last.weight, 0.5), (last.bias, 0.0)):
        nn.init.constant_(parameter, value)
    tiny.model = nn.Sequential(nn.Flatten(), dead, nn.ReLU(), last)
    method = made(tiny, scores="ekfac")
    looking(method, tiny)
    method.count_passes()
    with method.meter.running():
        found = method.influences(torch.tensor([0, 1]))
    same = 0.5 / (0.5 + 0.1 * 0.5 / 8)  # the mean is over 2 outputs x (3 inputs and the bias)
    for row, own in zip(found.tolist(), (0, 1), strict=True):
        assert row == pytest.approx([same if label == own else -same for label in LABELS], rel=1e-4)


def conv_net() -> nn.Module:
    """Three layers that are followed, with and without bias, a stride and padding; and BatchNorm, which is not."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.CELU(), nn.Conv2d(3, 2, 3, stride=2, bias=False)]
    return nn.Sequential(*layers, nn.CELU(), nn.Flatten(), nn.Linear(8, 3)).eval()


def as_matrix(layer: nn.Module, parameters: list[torch.Tensor]) -> torch.Tensor:
    """(outputs, inputs) weights of a layer in double precision, the bias as the last column."""
    return torch.cat([part.double().reshape(len(layer.weight), -1) for part in parameters], 1)


def test_ekfac_of_several_layers_is_diagonal_in_the_eigenvectors_of_the_factors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each block is written out as a matrix over all weights of its layer, and v is solved for."""
    ekfac = pytest.importorskip("unlearning.gradients.ekfac", exc_type=ImportError)
    loss = ekfac.Classification.compute_train_loss  # with the labels as they are: drawn ones could not be compared
    monkeypatch.setattr(
        ekfac.Classification, "compute_train_loss", lambda task, batch, model, **_: loss(task, batch, model)
    )
    model, images, labels = conv_net(), torch.rand(30, 1, 6, 6), torch.arange(30) % 3
    inverse = ekfac.inverse_ekfac(model, [Batch(images, labels, labels, labels == 0)], Meter())
    layers = [model[0], model[3], model[6]]
    vectors = {weight: torch.randn(2, *weight.shape) for layer in layers for weight in layer.parameters()}
    found = inverse(vectors)
    assert found.keys() == vectors.keys()

    activations = [images]
    for module in model:
        activations.append(module(activations[-1]))
    total = nn.functional.cross_entropy(activations[-1], labels, reduction="sum")
    for number in (0, 3, 6):
        layer, below = model[number], activations[number].detach()
        (above,) = torch.autograd.grad(total, activations[number + 1], retain_graph=True)
        if number < 6:  # to (B, positions, inputs) and (B, positions, outputs)
            below = nn.functional.unfold(below, 3, padding=layer.padding, stride=layer.stride).mT
            above = above.flatten(2).mT
        below, above = below.reshape(30, -1, below.shape[-1]).double(), above.reshape(30, -1, above.shape[-1]).double()
        if layer.bias is not None:
            below = torch.cat([below, torch.ones_like(below[..., :1])], 2)
        (_, outputs), (_, inputs) = (torch.linalg.eigh(torch.einsum("bli,blj->ij", x, x)) for x in (above, below))
        basis = torch.kron(outputs, inputs)
        eigenvalues = (torch.einsum("blo,bli->boi", above, below).flatten(1) @ basis).square().mean(0)
        block = basis @ torch.diag(eigenvalues + 0.1 * eigenvalues.mean()) @ basis.T
        for k in range(2):
            vector, ours = (as_matrix(layer, [v[weight][k] for weight in layer.parameters()]) for v in (vectors, found))
            expected = torch.linalg.solve(block, vector.flatten()).view_as(ours)
            assert (ours - expected).norm() < 0.01 * expected.norm()


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
    looking(method, tiny)
    together = method.influences(torch.tensor([0, 1]))
    monkeypatch.setattr(influence_filter, "HELD", 1)
    torch.testing.assert_close(method.influences(torch.tensor([0, 1])), together)


def test_ekfac_drops_poisoned_samples(tmp_path: Path) -> None:
    """Of the retain set 4 % are poisoned, so chance would make 4 % of what is dropped right."""
    pytest.importorskip("kronfluence")
    words = ["method=influence_filter", "method.scores=ekfac", "scenario=poison", "scenario.known=0.2", "model=mlp"]
    config, _ = composed(*words, "scenario.fraction=0.05", "model.hidden=[64,64]", f"paths.root={tmp_path}")
    poisoned = Run(config, tmp_path)
    method = poisoned.method(poisoned.reference("original").network)
    data = poisoned.datamodule()
    method.look = lambda stream: data.batches(stream, torch.device("cpu"))
    dropped = method.filtered()
    unknown = poisoned.split.manipulated[~torch.isin(poisoned.split.manipulated, poisoned.split.forget)]
    right = int(torch.isin(dropped, unknown).sum())
    assert right / len(dropped) > 0.5
    assert right / len(unknown) > 0.2


def test_the_true_fisher_information_is_over_labels_that_the_model_expects() -> None:
    ekfac = pytest.importorskip("unlearning.gradients.ekfac", exc_type=ImportError)
    model, batch = Tiny(weight=(50.0, -50.0)).model, (torch.ones(3, 1), torch.ones(3, dtype=torch.int64))
    task = ekfac.Classification([])
    assert task.compute_train_loss(batch, model).item() == pytest.approx(300)  # sure, and wrong, of three samples
    assert task.compute_train_loss(batch, model, sample=True).item() == pytest.approx(0)


def test_ekfac_follows_layers_that_it_has_formulas_for() -> None:
    ekfac = pytest.importorskip("unlearning.gradients.ekfac", exc_type=ImportError)
    swin = ekfac.followed(tiny_swin(), torch.rand(3, 1, 16, 16).double())
    assert "patch_embed.proj" in swin
    assert "head.fc" in swin
    assert [name for name in swin if "qkv" in name] == ["layers.1.blocks.0.attn.qkv"]  # the others: a row a window
    model = nn.Sequential(nn.Conv2d(2, 2, 1, groups=2), nn.Flatten(), nn.Linear(2, 2).requires_grad_(False))
    with pytest.raises(UserError, match=r"finds no layer in the model that it can follow: set method.scores=diagonal"):
        ekfac.followed(model, torch.rand(3, 2, 1, 1))


def test_ekfac_without_its_library_is_refused(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kronfluence", None)
    with pytest.raises(UserError, match=r"needs kronfluence: pip install 'unlearning\[influence\]', or set"):
        made(tiny, scores="ekfac")
    made(tiny)


def test_ekfac_in_several_processes_is_refused(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(influence_filter, "find_spec", lambda _: True)
    monkeypatch.setattr(influence_filter, "several", lambda: True)
    with pytest.raises(UserError, match=r"method.scores=ekfac works in one process: run one, or"):
        made(tiny, scores="ekfac")
