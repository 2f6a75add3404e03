"""The exact Fisher information, Fisher forgetting and NTK forgetting against what is derived by hand or by a loop."""

import copy

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import Tensor, nn

from tests.conftest import Tiny, tiny_swin, tiny_vit
from unlearning.errors import UserError
from unlearning.gradients.fisher import exact_fisher, root_of_output_fisher
from unlearning.gradients.samples import SampleBackward
from unlearning.methods.fisher import Fisher
from unlearning.methods.fisher_new import FisherNew
from unlearning.methods.ntk import NTK, gram, grams, jacobian_of, ridge, trapezium
from unlearning.models.mlp import MLP
from unlearning.models.small_cnn import SmallCNN
from unlearning.types import Batch


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([t.flatten() for t in tensors])


def fisher_by_loop(model: nn.Module, images: Tensor) -> Tensor:
    """What the papers do: a backward pass for every sample and class."""
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
    """In double precision, with running statistics of its own; ``sure`` scales the logits."""
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
    """What the rules for layers must leave alone, or must not be fooled by."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0))  # no square, with bias
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
    """As many positions, in the first dimension, as there are samples or a multiple: none may be taken for a sample."""

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


# Fisher forgetting

W = np.array([0.5, -1.0])
RETAIN = np.array([0.4, 0.8])


def test_fisher_forgetting_adds_noise_by_the_inverse_information(tiny: Tiny) -> None:
    noise = tiny.edit(Fisher(tiny.model, alpha=0.3, batch_size=1))
    p = softmax(np.outer(RETAIN, W), axis=1)
    information = (p * (1 - p) * RETAIN[:, None] ** 2).mean(0)  # about .05: the bound of 1e2 is not reached
    deviation = np.sqrt(10 * 0.3 / (information + 1e-8))
    np.testing.assert_allclose(tiny.weight.numpy(), W + deviation * noise, rtol=1e-5)


def test_fisher_forgetting_draws_the_row_of_a_forgotten_class_around_zero(tiny: Tiny) -> None:
    method = Fisher(tiny.model, alpha=0.0)
    tiny.fit(method)
    method.observations["forget_classes"] = torch.tensor([1])
    torch.manual_seed(3)
    noise = torch.randn(2, 1).flatten().numpy()
    torch.manual_seed(3)
    with torch.no_grad():
        method.edit()
    np.testing.assert_allclose(tiny.weight.numpy(), [0.5, 0.01 * noise[1]], rtol=1e-5)


def test_fisher_forgetting_bounds_and_averages_the_variance(tiny: Tiny) -> None:
    method = Fisher(tiny.model, alpha=0.1)
    information = torch.tensor([[0.0, 1.0], [0.005, 0.5]])
    # body: .1 (1e3 + 1) / 2 and .1 (200 + 2) / 2; head: .1 (1e2 + 1) / 2 and .1 (1e2 + 2) / 2, times 10
    for in_head, expected in ((False, [50.05, 10.1]), (True, [50.5, 51.0])):
        found = method.variance(information, in_head)
        np.testing.assert_allclose(found.numpy(), np.repeat(np.array(expected)[:, None], 2, axis=1), rtol=1e-5)
    vector = torch.tensor([0.0, 1.0])
    np.testing.assert_allclose(method.variance(vector, False).numpy(), [1000.0, 1.0], rtol=1e-5)
    np.testing.assert_allclose(method.variance(vector, True).numpy(), [100.0, 1.0], rtol=1e-5)


# NTK forgetting

LAMBDA = 0.1


def ridge_by_class(x: list[float], labels: list[int]) -> np.ndarray:
    """(2,) argmin of ``sum_i (w_c x_i - [y_i = c])^2 + n lambda w_c^2`` for each class: one unknown, one equation."""
    x, y = np.array(x), np.eye(2)[labels]
    return (x[:, None] * y).sum(0) / ((x**2).sum() + len(x) * LAMBDA)


TRAIN, KEPT = ([0.2, 1.0, 0.4, 0.8], [0, 1, 0, 1]), ([0.4, 0.8], [0, 1])


@pytest.mark.parametrize("scale", [None, 1.0])
def test_ntk_retrains_a_linear_model_exactly(scale: float | None) -> None:
    tiny = Tiny(weight=tuple(ridge_by_class(*TRAIN)))
    method = NTK(tiny.model, weight_decay=LAMBDA, scale=scale)
    tiny.edit(method)
    np.testing.assert_allclose(tiny.weight.numpy(), ridge_by_class(*KEPT), rtol=1e-5)
    assert np.abs(ridge_by_class(*KEPT) - ridge_by_class(*TRAIN)).max() > 0.02


def test_ntk_scales_the_step_of_a_model_that_was_trained_otherwise(tiny: Tiny) -> None:
    everything, kept = ridge_by_class(*TRAIN), ridge_by_class(*KEPT)
    step, error = kept - everything, W - everything
    scale = 1 + 2 * abs(step @ error) / (step @ step)
    tiny.edit(NTK(tiny.model, weight_decay=LAMBDA))
    np.testing.assert_allclose(tiny.weight.numpy(), W + scale * step, rtol=1e-4)


def test_ntk_corrects_towards_the_retrained_weights() -> None:
    """A network with a hidden layer at the minimum of the loss that the method linearises, so that w(D) is w*.

    The step is then a Gauss-Newton step to the minimum without the forget set, which is in the same valley.
    """
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x = torch.randn(30, 3).double()
    y = (x.sum(1) > 0).long()

    def trained_on(samples: slice) -> Tensor:
        """The weights where ``sum |f(x) - onehot(y)|^2 + n LAMBDA |w|^2`` is least, from those that the model has."""
        parameters = list(model.parameters())
        optimizer = torch.optim.LBFGS(parameters, max_iter=1000, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            errors = model(x[samples]) - nn.functional.one_hot(y[samples], 2)
            loss = errors.square().sum() + len(errors) * LAMBDA * flat(parameters).square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        return flat(parameters).detach().clone()

    original = trained_on(slice(None))
    method = NTK(copy.deepcopy(model), weight_decay=LAMBDA)
    retrained = trained_on(slice(3, None))

    parts = {"forget": slice(0, 3), "retain": slice(3, None)}
    method.observations = {"samples": torch.tensor(30.0)}
    method.look = lambda stream: iter([Batch(x[parts[stream]], y[parts[stream]], None, None)])
    with torch.no_grad():
        method.edit()
    step, wanted = flat(list(method.model.parameters())).detach() - original, retrained - original
    assert wanted.norm() > 0.03
    assert torch.cosine_similarity(step, wanted, dim=0) > 0.97
    assert (step - wanted).norm() < 0.25 * wanted.norm()


def test_trapezium_closes() -> None:
    # Corners (0, 0), (2, 0) and (-1, 3): the fourth is (3, 3), so the far side is 4 where the near one is 2.
    assert trapezium(torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 3.0])) == pytest.approx(2)


def test_jacobian_and_ridge_solve_the_linearised_problem() -> None:
    torch.manual_seed(0)
    model, x = MLP((3,), 4, hidden=[5]).double(), torch.randn(6, 3).double()
    parameters = {n: p.detach() for n, p in model.named_parameters()}
    by_name = torch.func.jacrev(lambda p: torch.func.functional_call(model, p, x))(parameters)
    expected = torch.cat([by_name[n].flatten(2) for n in parameters], 2)
    found, logits = jacobian_of(model, x)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(logits, model(x).detach())

    for jacobian in (found[:2].flatten(0, 1), found.repeat(3, 1, 1).flatten(0, 1)):  # 8 and 72 rows, 44 columns
        residual = torch.randn(len(jacobian)).double()
        stacked = np.vstack([jacobian.numpy(), np.sqrt(0.3) * np.eye(44)])
        best = np.linalg.lstsq(stacked, np.append(-residual.numpy(), np.zeros(44)), rcond=None)[0]
        np.testing.assert_allclose(ridge(jacobian, residual, gram(jacobian), 0.3).numpy(), best, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("rows", [3, 5, 9])  # of 4 columns: nothing is tall, the whole is, its first 6 are, too
def test_grams_are_of_the_first_rows_and_of_all(rows: int) -> None:
    torch.manual_seed(0)
    jacobian, first = torch.randn(rows, 4).double(), {3: 2, 5: 3, 9: 6}[rows]
    found = grams(jacobian, first)
    wanted = [j.T @ j if len(j) > 4 else j @ j.T for j in (jacobian[:first], jacobian)]
    for one, expected in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.tril(), expected.tril())


def test_ntk_refuses_what_does_not_fit(tiny: Tiny) -> None:
    # 4 samples x 2 logits by 2 weights: 16 + 3 x 4 numbers of 4 bytes, 1.04e-7 GiB
    with pytest.raises(UserError, match=r"4 samples x 2 logits by 2 weights, more than .*memory_gib=1e-07"):
        NTK(tiny.model, memory_gib=1e-7).check(tiny.task())
    NTK(tiny.model, memory_gib=1.1e-7).check(tiny.task())
    NTK(tiny.model, memory_gib=1e-7, retain_share=0.5).check(tiny.task())  # of three samples


@pytest.mark.parametrize("wrong", [{"weight_decay": 0.0}, {"retain_share": 0.0}, {"retain_share": 1.5}])
def test_ntk_refuses_senseless_options(tiny: Tiny, wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match="must be positive and retain_share lie in"):
        NTK(tiny.model, **wrong)


@pytest.mark.parametrize("scale", [0.0, -1.0])
def test_ntk_refuses_to_stand_still_or_go_backwards(tiny: Tiny, scale: float) -> None:
    with pytest.raises(UserError, match=rf"method.scale={scale} must be above 0, or null"):
        NTK(tiny.model, scale=scale)


# Fisher forgetting by batches


def test_fisher_new_squares_the_gradient_of_the_batch_that_processes_share(tiny: Tiny) -> None:
    """Two processes, of which the other one always has the gradient (.3, -.1): the mean of both is what is squared."""
    method, other = FisherNew(tiny.model, batch_size=1), np.array([0.3, -0.1])
    method.averaged = lambda gradient: (gradient + torch.from_numpy(other).float()) / 2
    tiny.fit(method)
    w = np.array([0.5, -1.0])  # retained are x = .4 of class 0 and x = .8 of class 1
    own = [(softmax(x * w) - np.eye(2)[y]) * x for x, y in ((0.4, 0), (0.8, 1))]
    expected = sum(((g + other) / 2) ** 2 for g in own)
    np.testing.assert_allclose(method.observations["squares"].numpy(), expected, rtol=1e-5)
    assert method.observations["batches"] == 2
