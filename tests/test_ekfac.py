"""EK-FAC, by the optional package kronfluence, against blocks that are written out."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.conftest import Tiny, composed, tiny_swin
from tests.test_influence_filter import LABELS, X, conv_net, made
from unlearning.data.datamodule import UnlearningData
from unlearning.engine.job import Job
from unlearning.errors import UserError
from unlearning.runtime.cost import Meter
from unlearning.types import Batch


@pytest.mark.slow
def test_ekfac_influences_are_those_of_the_formula() -> None:
    """One input and two classes: the block has the eigenvectors (1, 1) and (1, -1), with 0 and the mean of squares.

    Without weights both classes are as likely, and a squared gradient is the same whichever label is drawn.
    """
    pytest.importorskip("kronfluence")
    tiny = Tiny(weight=(0.0, 0.0))
    method = made(tiny, scores="ekfac")
    method.count_passes()
    with method.meter.running():
        found = method.influences(torch.tensor([0, 1]))
    g = [(0.5 - y) * x for x, y in zip(X, LABELS, strict=True)]
    eigenvalue = 2 * sum(0.25 * x**2 for x in X) / 4
    for row, own in zip(found.tolist(), g[:2], strict=True):
        expected = [2 * own * g_i / (eigenvalue + 0.1 * eigenvalue / 2) for g_i in g]
        assert row == pytest.approx(expected, rel=1e-4)
    assert method.meter.forward == 3 + 2 * 4 + 2 + 4  # a glance; two factors; the forget set; both labels at once


@pytest.mark.slow
def test_a_dead_layer_has_no_part_in_ekfac_influences() -> None:
    """A ReLU lets nothing through: both classes are equally likely, and only the second layer's bias moves them.

    Its gradients are (.5, -.5) and (-.5, .5), of squared length .5: the one eigenvalue of four that is not 0.
    """
    pytest.importorskip("kronfluence")
    tiny = Tiny()
    dead, last = nn.Linear(1, 3, bias=False), nn.Linear(3, 2)
    for parameter, value in ((dead.weight, -1.0), (last.weight, 0.5), (last.bias, 0.0)):
        nn.init.constant_(parameter, value)
    tiny.model = nn.Sequential(nn.Flatten(), dead, nn.ReLU(), last)
    method = made(tiny, scores="ekfac")
    method.count_passes()
    with method.meter.running():
        found = method.influences(torch.tensor([0, 1]))
    same = 0.5 / (0.5 + 0.1 * 0.5 / 8)  # the mean is over 2 outputs x (3 inputs and the bias)
    for row, own in zip(found.tolist(), (0, 1), strict=True):
        assert row == pytest.approx([same if label == own else -same for label in LABELS], rel=1e-4)


def as_matrix(layer: nn.Module, parameters: list[torch.Tensor]) -> torch.Tensor:
    """(outputs, inputs) weights of a layer in double precision, the bias as the last column."""
    return torch.cat([part.double().reshape(len(layer.weight), -1) for part in parameters], 1)


@pytest.mark.slow
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


@pytest.mark.slow
def test_ekfac_drops_poisoned_samples(tmp_path: Path) -> None:
    """4 % of the retain set are poisoned, so a random choice would be right for 4 % of the dropped samples."""
    pytest.importorskip("kronfluence")
    words = ["method=influence_filter", "method.scores=ekfac", "scenario=poison", "scenario.known=0.2", "model=mlp"]
    config, _ = composed(*words, "scenario.fraction=0.05", "model.hidden=[64,64]", f"paths.root={tmp_path}")
    job = Job.of(config)
    problem, split = job.problem, job.problem.split
    original = job.lab.train(problem, job.recipe, split.train, job.pretrain_seed)
    method = job.lab.method(problem, job.method, {}, original.network)
    method.data = UnlearningData(problem.data, split, problem.task)
    torch.manual_seed(0)  # over seeds 0 to 3, 0.38 to 0.59 of the dropped samples are poisoned
    dropped = method.filtered()
    unknown = split.manipulated[~torch.isin(split.manipulated, split.forget)]
    right = int(torch.isin(dropped, unknown).sum())
    assert right / len(dropped) > 0.3
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
    assert [name for name in swin if "qkv" in name] == ["layers.1.blocks.0.attn.qkv"]  # others: a row per window
    model = nn.Sequential(nn.Conv2d(2, 2, 1, groups=2), nn.Flatten(), nn.Linear(2, 2).requires_grad_(False))
    with pytest.raises(UserError) as raised:
        ekfac.followed(model, torch.rand(3, 2, 1, 1))
    assert raised.value.key == "method.scores"
