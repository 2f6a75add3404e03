"""Gradients of single samples and the exact Fisher information, against derivations by hand and loops."""

import copy

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import Tensor, nn

from tests.conftest import tiny_swin, tiny_vit
from unlearning.gradients.fisher import exact_fisher, root_of_output_fisher
from unlearning.gradients.per_sample import SampleBackward
from unlearning.models.mlp import MLP
from unlearning.models.small_cnn import SmallCNN


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([t.flatten() for t in tensors])


def fisher_by_loop(model: nn.Module, images: Tensor) -> Tensor:
    """The papers' way to compute it: a backward pass for every sample and class."""
    parameters = list(model.parameters())
    total = [torch.zeros_like(p) for p in parameters]
    for image in images:
        log_p = model(image[None]).log_softmax(1)[0]
        for one in log_p:
            gradients = torch.autograd.grad(one, parameters, retain_graph=True, materialize_grads=True)
            for t, g in zip(total, gradients, strict=True):
                t += one.detach().exp() * g**2
    return flat(total)


def small_cnn(sure: float = 1.0) -> nn.Module:
    """A small CNN in double precision, with running statistics of its own; ``sure`` scales the logits."""
    torch.manual_seed(0)
    model = SmallCNN((1, 8, 8), 10).double()
    for _ in range(3):
        model(torch.rand(32, 1, 8, 8).double())
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.1)
        model.head.weight.mul_(sure)
    return model.eval()


class Odd(nn.Module):
    """Layers and parameters that the rules must leave to ``torch.func``, and layers that could mislead the rules."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0))  # not square, with bias
        self.grouped = nn.Conv2d(4, 4, 3, padding="same", groups=2)
        self.norm = nn.BatchNorm2d(4)
        self.inplace = nn.ReLU(inplace=True)
        self.tokens = nn.Linear(4, 6, bias=False)  # on many positions of a sample
        self.twice = nn.Linear(6, 6)
        self.layer_norm = nn.LayerNorm(6)
        self.scale = nn.Parameter(torch.rand(6))
        self.unused = nn.Linear(3, 3)
        self.tied, self.with_it = nn.Linear(6, 6), nn.Linear(6, 6)
        self.tied.weight = self.with_it.weight
        self.head = nn.Linear(6, 4)
        self.flat_norm = nn.BatchNorm1d(6)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.inplace(self.norm(self.grouped(self.convolution(images))))
        tokens = self.tokens(maps.flatten(2).mT)
        tokens = self.layer_norm(self.twice(self.twice(tokens).tanh())) * self.scale
        return self.head(self.flat_norm(self.tied(self.with_it(tokens.mean(1)).tanh())))


def odd() -> nn.Module:
    torch.manual_seed(1)
    model = Odd().double()
    model(torch.randn(20, 2, 5, 4).double())  # running statistics
    return model.eval()


class PositionsFirst(nn.Module):
    """A layer whose first dimension is over positions: a position must not be mistaken for a sample.

    There are as many positions as samples, or a multiple.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Linear(2, 3)
        self.head = nn.Linear(3, 4)

    def forward(self, images: Tensor) -> Tensor:
        rows = images.flatten(2).permute(2, 0, 1).flatten(0, 1)  # (positions B, 2): the samples take turns
        return self.head(self.tokens(rows).tanh().view(-1, len(images), 3).sum(0))


def positions_first() -> nn.Module:
    torch.manual_seed(1)
    return PositionsFirst().double()


def test_fisher_of_logistic_regression_is_the_analytic_one() -> None:
    torch.manual_seed(0)
    model, x = MLP((3,), 4, hidden=[]).double(), torch.randn(7, 3).double()
    weights, bias = (p.detach().numpy() for p in model.parameters())
    p = softmax(x.numpy() @ weights.T + bias, axis=1)
    spread = p * (1 - p)  # d^2 CE / d logit^2, and the expected square of d CE / d logit
    by_weight, by_bias = exact_fisher(model, x)
    np.testing.assert_allclose(by_weight.numpy(), spread.T @ x.numpy() ** 2, rtol=1e-12)
    np.testing.assert_allclose(by_bias.numpy(), spread.sum(0), rtol=1e-12)


@pytest.mark.parametrize("sure", [1.0, 30.0])
def test_exact_fisher_is_that_of_a_loop(sure: float) -> None:
    model, images = small_cnn(sure), torch.rand(6, 1, 8, 8).double()
    expected = fisher_by_loop(model, images)
    found = flat(exact_fisher(model, images))
    assert (found - expected).abs().max() <= 1e-12 * expected.max()
    found = flat(exact_fisher(copy.deepcopy(model).float(), images.float())).double()
    assert (found - expected).norm() <= 1e-5 * expected.norm()


def test_fisher_of_layers_without_a_rule() -> None:
    model, images = odd(), torch.randn(5, 2, 5, 4).double()
    expected = fisher_by_loop(model, images)
    torch.testing.assert_close(flat(exact_fisher(model, images)), expected, rtol=1e-9, atol=1e-14)
    rest = {name.split(".")[0] for name in SampleBackward(model, images).rest}
    assert rest == {"grouped", "twice", "tied", "with_it", "layer_norm", "scale", "unused"}


def test_a_frozen_parameter_has_no_fisher() -> None:
    model, images = small_cnn(), torch.rand(3, 1, 8, 8).double()
    whole = exact_fisher(model, images)
    model.block1[0].weight.requires_grad_(False)
    rest = exact_fisher(model, images)
    assert len(rest) == len(whole) - 1
    torch.testing.assert_close(flat(rest), flat(whole[1:]))


@pytest.mark.parametrize(
    ("make", "shape", "rest"),
    [
        (small_cnn, (1, 8, 8), 0),
        (odd, (2, 5, 4), 12),
        (tiny_vit, (1, 16, 16), None),
        (tiny_swin, (1, 16, 16), None),
        (positions_first, (2, 2, 3), 2),
    ],
)
def test_gradients_of_each_sample(make, shape: tuple[int, ...], rest: int | None) -> None:
    model = make()
    images, labels = torch.rand(4, *shape).double(), torch.tensor([0, 3, 1, 3])
    backward = SampleBackward(model, images)
    layers = {name for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)}
    if rest is None:  # attention in windows, or over all positions: every layer with a rule is met by it
        assert not layers & {name.rpartition(".")[0] for name in backward.rest}
    else:
        assert len(backward.rest) == rest
    found = {g.parameter: g.each() for g in backward.along(backward.residuals(labels))}
    names = {p: name for name, p in model.named_parameters()}
    for b in range(4):
        loss = nn.functional.cross_entropy(model(images[b : b + 1]), labels[b : b + 1])
        expected = torch.autograd.grad(loss, list(names), materialize_grads=True)
        for parameter, gradient in zip(names, expected, strict=True):
            torch.testing.assert_close(found[parameter][b], gradient, msg=names[parameter])


@pytest.mark.parametrize(
    ("convolution", "shape"),
    [
        (nn.Conv2d(8, 3, 3, stride=2), (8, 18, 17)),  # as one convolution; the last row and column are left over
        (nn.Conv2d(8, 4, (3, 5), padding=(1, 2), dilation=(1, 2), groups=2), (8, 5, 9)),
        (nn.Conv2d(2, 3, 2, stride=3, padding=1), (2, 8, 7)),  # as patches
        (nn.Conv2d(8, 3, (1, 2), stride=(2, 1)), (8, 4, 5)),
    ],
)
def test_gradients_of_each_convolution(convolution: nn.Conv2d, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    images = torch.randn(3, *shape).double()
    model = nn.Sequential(convolution.double(), nn.Flatten(), nn.LazyLinear(4).double())
    model(images)
    directions = torch.randn(3, 4).double()
    backward = SampleBackward(model, images)
    assert not backward.rest
    found = {g.parameter: (g.each(), g.sum_of_squares()) for g in backward.along(directions)}
    for parameter in model.parameters():
        rows = [
            torch.autograd.grad(d @ model(x[None])[0], parameter)[0] for x, d in zip(images, directions, strict=True)
        ]
        expected = torch.stack(rows)
        torch.testing.assert_close(found[parameter][0], expected)
        torch.testing.assert_close(found[parameter][1], expected.square().sum(0))


@pytest.mark.parametrize("logits", [[0.3, -1.0, 2.0, 0.0], [90.0, 0.0, -90.0, 3.0], [-200.0, 0.0, 200.0, 0.0]])
def test_root_of_the_fisher_of_the_logits(logits: list[float]) -> None:
    values = torch.tensor([logits, logits[::-1]])
    root = root_of_output_fisher(values)
    assert root.shape == (3, 2, 4)
    for b in range(2):
        p = softmax(values[b].double().numpy())
        product = sum(np.outer(s, s) for s in root[:, b].double().numpy())
        off = product - (np.diag(p) - np.outer(p, p))
        np.testing.assert_allclose(off, 0, atol=3e-7)
        # The spread of a class is p (1 - p), to the last digits even where 1 - p is 1 in single precision.
        spread = p * np.array([np.delete(p, c).sum() for c in range(4)])
        np.testing.assert_allclose(np.diag(product)[spread > 1e-30], spread[spread > 1e-30], rtol=1e-5)
