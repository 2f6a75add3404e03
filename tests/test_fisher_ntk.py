"""Fisher forgetting and NTK forgetting against what is derived by hand; see ``by_hand``."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.by_hand import RETAIN, W, check_options, observe, probabilities
from tests.conftest import Tiny
from unlearning.errors import UserError
from unlearning.methods.fisher import Fisher
from unlearning.methods.fisher_new import FisherNew
from unlearning.methods.ntk import NTK, gram, grams, jacobian_of, ridge, trapezium
from unlearning.models.mlp import MLP
from unlearning.types import Batch, Task


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([t.flatten() for t in tensors])


# Fisher forgetting


def test_fisher_forgetting_adds_noise_by_the_inverse_information(tiny: Tiny) -> None:
    noise = tiny.edit(Fisher(tiny.model, alpha=0.3, batch_size=1))
    x = RETAIN[0]
    p = probabilities(W, x)
    information = (p * (1 - p) * x[:, None] ** 2).mean(0)  # about .05: the bound of 1e2 is not reached
    deviation = np.sqrt(10 * 0.3 / (information + 1e-8))
    np.testing.assert_allclose(tiny.weight.numpy(), W + deviation * noise, rtol=1e-5)


def test_fisher_forgetting_draws_the_row_of_a_forgotten_class_around_zero(tiny: Tiny) -> None:
    tiny.split = replace(tiny.split, forget_classes=(1,))
    noise = tiny.edit(Fisher(tiny.model, alpha=0.0))
    # a variance of 1e-4 times 10, a deviation of .0316
    np.testing.assert_allclose(tiny.weight.numpy(), [0.5, np.sqrt(1e-3) * noise[1]], rtol=1e-5)


@pytest.mark.parametrize("factor", [10.0, 1.0])
def test_fisher_forgetting_multiplies_the_variance_of_the_head_and_of_vectors(factor: float) -> None:
    """With no information at all the variance is alpha times its bound."""
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    method = Fisher(model, alpha=1e-4, head_factor=factor)
    method.data = SimpleNamespace(task=SimpleNamespace(forget_classes=(1,), num_classes=2, input_shape=(3,)))
    weights = list(model.parameters())
    method.observations = {"fisher": torch.zeros(sum(w.numel() for w in weights)), "terms": torch.tensor(1.0)}
    before = [w.detach().clone() for w in weights]
    torch.manual_seed(0)
    with torch.no_grad():
        method.edit()
    torch.manual_seed(0)
    body, head = 1e-4 * 1e3, 1e-4 * 1e2  # the row of class 1: 0 and 1e-4
    expected = [body, 10 * body, 10 * body, 10 * body, factor * head, 10 * head]
    row = {4: 1e-4 * factor, 5: 1e-4 * 10}
    for number, (weight, old, variance) in enumerate(zip(weights, before, expected, strict=True)):
        noise, mean, spread = torch.randn_like(weight), old.clone(), torch.full_like(old, variance)
        if number in row:
            mean[1], spread[1] = 0.0, row[number]
        torch.testing.assert_close(weight.detach(), mean + spread.sqrt() * noise)


@pytest.mark.parametrize("last", [nn.Linear(4, 3), nn.Conv1d(4, 3, 1), nn.Linear(4, 2), nn.ReLU()])
def test_fisher_forgetting_needs_the_classifiers_layer(last: nn.Module) -> None:
    """The last linear layer or convolution is that if it has an output for each of the three classes."""
    task = Task(3, (1,), {"retain": 5}, (3,), False)
    method = Fisher(
        nn.Sequential(nn.Linear(3, 4), nn.Unflatten(1, (4, 1)) if isinstance(last, nn.Conv1d) else nn.ReLU(), last)
    )
    if not isinstance(last, nn.ReLU) and len(last.weight) == 3:
        method.check(task)
    else:
        with pytest.raises(UserError) as refused:
            method.check(task)
        assert (refused.value.key, refused.value.kind) == ("method", "conflict")


def test_fisher_forgetting_of_a_network_without_layers_is_refused_as_such() -> None:
    with pytest.raises(UserError) as refused:
        Fisher(nn.BatchNorm1d(3)).check(Task(3, (1,), {"retain": 5}, (3,), False))
    assert (refused.value.key, refused.value.kind) == ("method", "conflict")


def test_fisher_forgetting_bounds_and_averages_the_variance(tiny: Tiny) -> None:
    method = Fisher(tiny.model, alpha=0.1)
    information = torch.tensor([[0.0, 1.0], [0.005, 0.5]])
    # body: .1 (1e3 + 1) / 2 and .1 (200 + 2) / 2; head: .1 (1e2 + 1) / 2 and .1 (1e2 + 2) / 2
    for in_head, expected in ((False, [50.05, 10.1]), (True, [5.05, 5.1])):
        found = method.variance(information, in_head)
        np.testing.assert_allclose(found.numpy(), np.repeat(np.array(expected)[:, None], 2, axis=1), rtol=1e-5)
    vector = torch.tensor([0.0, 1.0])
    np.testing.assert_allclose(method.variance(vector, False).numpy(), [100.0, 0.1], rtol=1e-5)
    np.testing.assert_allclose(method.variance(vector, True).numpy(), [10.0, 0.1], rtol=1e-5)


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
    ids = torch.arange(30)
    method.look = lambda stream: iter([Batch(x, y, ids, ids < 3).select(parts[stream])])
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
    task = tiny.problem.task
    with pytest.raises(UserError) as raised:
        NTK(tiny.model, memory_gib=1e-7).check(task)
    assert raised.value.key == "method.memory_gib"
    NTK(tiny.model, memory_gib=1.1e-7).check(task)
    NTK(tiny.model, memory_gib=1e-7, retain_share=0.5).check(task)  # of three samples


@pytest.mark.parametrize(
    ("kind", "option", "wrong"),
    [
        (NTK, "weight_decay", 0.0),
        (NTK, "retain_share", 0.0),
        (NTK, "retain_share", 1.5),
        (NTK, "scale", 0.0),  # it would stand still
        (NTK, "scale", -1.0),  # it would go backwards
        (Fisher, "alpha", -1.0),
        (Fisher, "head_factor", 0.0),
        (FisherNew, "alpha", -1.0),
        (FisherNew, "head_factor", 0.0),
    ],
)
def test_options_out_of_bounds_are_refused(kind: type, option: str, wrong: float) -> None:
    with pytest.raises(UserError) as raised:
        check_options(kind, **{option: wrong})
    assert (raised.value.key, raised.value.kind) == (f"method.{option}", "value")


def test_ntk_observes_a_part_of_the_retain_set_and_keys_it(tiny: Tiny) -> None:
    whole, half = NTK(tiny.model), NTK(tiny.model, retain_share=0.5)
    observe(tiny, half)
    assert half.observations["samples"] == 3  # two of the forget set and one of two
    assert whole.observation_key() != half.observation_key()
