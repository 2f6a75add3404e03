"""Influence unlearning against the dense inverse, Fisher forgetting by batches by hand, and both on digits."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.by_hand import FORGET, RETAIN, W, check_options, observe, probabilities
from tests.conftest import Tiny, tiny_swin, tiny_vit
from tests.digits import rows as rows_on_digits
from unlearning.errors import UserError
from unlearning.methods import wood_fisher
from unlearning.methods.fisher_new import FisherNew
from unlearning.methods.wood_fisher import WoodFisher, conjugate_gradients, fisher_product, gradient_rows, woodbury
from unlearning.models.mlp import MLP
from unlearning.models.small_cnn import SmallCNN
from unlearning.types import Batch

DAMPING, ALPHA = 0.03, 0.7


def gradients(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(B, 2) each sample's gradient of cross-entropy under softmax regression."""
    return (probabilities(W, x) - np.eye(2)[y]) * x[:, None]


def influence_step(curvature: np.ndarray) -> np.ndarray:
    """(2,) the weights after the step, with a curvature of the outer products of its rows, retain gradients."""
    forget, retain = gradients(*FORGET).sum(0), gradients(*RETAIN).sum(0)
    change = forget / 4 - 2 / (4 * 2) * retain  # N_f = N_r = 2
    dense = DAMPING * np.eye(2) + curvature.T @ curvature / len(curvature)
    return W + ALPHA * np.linalg.inv(dense) @ change


@pytest.mark.parametrize("memory_gib", [1.0, 0.0], ids=["woodbury", "conjugate gradients"])
def test_influence_step_is_that_of_the_dense_inverse(tiny: Tiny, memory_gib: float) -> None:
    method = WoodFisher(tiny.model, ALPHA, DAMPING, memory_gib=memory_gib, batch_size=1, tolerance=1e-6)
    tiny.edit(method)
    expected = influence_step(gradients(*RETAIN))
    assert np.abs(expected - W).max() > 0.1
    np.testing.assert_allclose(tiny.weight.numpy(), expected, rtol=1e-4)
    assert bool(method.curves["residual"]) == (memory_gib == 0)


@pytest.mark.parametrize("memory_gib", [1.0, 0.0])
def test_curvature_is_that_of_as_many_samples_as_asked_for(tiny: Tiny, memory_gib: float) -> None:
    tiny.edit(WoodFisher(tiny.model, ALPHA, DAMPING, samples=1, memory_gib=memory_gib, tolerance=1e-6))
    either = [influence_step(row[None]) for row in gradients(*RETAIN)]
    assert np.abs(either[0] - either[1]).max() > 0.1
    assert min(np.abs(tiny.weight.numpy() - one).max() for one in either) < 1e-3


def test_the_samples_are_drawn_at_random_by_the_seed() -> None:
    found = set()
    for seed in range(12):
        tiny = Tiny()
        tiny.edit(WoodFisher(tiny.model, ALPHA, DAMPING, samples=1), seed)
        found.add(round(tiny.weight[0].item(), 4))
    assert len(found) == 2


def rows_by_loop(model: nn.Module, batch: Batch) -> Tensor:
    """(B, P) the gradients of cross-entropy, one sample at a time."""
    rows = []
    for image, label in zip(batch.images, batch.labels, strict=True):
        loss = nn.functional.cross_entropy(model(image[None]), label[None])
        found = torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)
        rows.append(torch.cat([g.flatten() for g in found]))
    return torch.stack(rows)


def batch_of(*shape: int) -> Batch:
    torch.manual_seed(3)
    labels = torch.randint(4, (shape[0],))
    return Batch(torch.randn(*shape).double(), labels, labels, labels > 5)


def test_both_routes_invert_the_fisher_information_of_a_network() -> None:
    torch.manual_seed(0)
    model, batch = MLP((3,), 4, hidden=[5]).double(), batch_of(12, 3)
    rows = rows_by_loop(model, batch)
    torch.testing.assert_close(gradient_rows(model, batch), rows)
    vector = torch.randn(rows.shape[1]).double()
    matrix = 0.01 * torch.eye(len(vector)).double() + rows.T @ rows / 12
    expected = torch.linalg.solve(matrix, vector)
    torch.testing.assert_close(woodbury(rows, vector, 0.01), expected)
    found, residuals = conjugate_gradients(
        lambda u: 0.01 * u + fisher_product(model, batch, u) / 12, vector, iterations=100, tolerance=1e-10
    )
    torch.testing.assert_close(found, expected)
    assert len(residuals) <= 20  # distinct eigenvalues: twelve and the damping; rounding takes a few steps more
    true = (matrix @ found - vector).norm() / vector.norm()
    assert residuals[-1] < 1e-10
    assert true < 1e-9


def test_an_ill_conditioned_curvature_is_inverted_from_single_precision() -> None:
    """The eigenvalues go from 1e6 / n to 1e-4 / n: in single precision the smallest would be rounding errors."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(m, 12, generator=generator).double())[0] for m in (12, 40))
    rows = (left * torch.logspace(3, -2, 12) @ right.T).float()
    vector, damping = torch.randn(40, generator=generator), 1e-6
    inverse = np.linalg.inv(damping * np.eye(40) + rows.double().numpy().T @ rows.double().numpy() / 12)
    expected = inverse @ vector.double().numpy()
    found = woodbury(rows, vector, damping)
    assert found.dtype == torch.float32
    assert np.linalg.norm(found.numpy() - expected) < 1e-5 * np.linalg.norm(expected)


def test_gradients_are_multiplied_a_block_of_columns_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, vector = torch.randn(3, 10).double(), torch.randn(10).double()
    monkeypatch.setattr(wood_fisher, "DOUBLE_BLOCK", 3 * 4)
    expected = torch.linalg.solve(0.1 * torch.eye(10) + rows.T @ rows / 3, vector)
    torch.testing.assert_close(woodbury(rows, vector, 0.1), expected)


@pytest.mark.parametrize("iterations", [1, 10])
def test_conjugate_gradients_that_end_early_leave_a_residual(tiny: Tiny, iterations: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2))  # gradients (p - y) (x, 1), of rank two
    method = WoodFisher(model, ALPHA, DAMPING, memory_gib=0.0, iterations=iterations, tolerance=1e-5)
    tiny.edit(method)
    assert (method.curves["residual"][-1] > 1e-5) == (iterations == 1)


def test_conjugate_gradients_stop_when_told_to() -> None:
    matrix, vector = torch.diag(torch.linspace(1, 1000, 50).double()), torch.ones(50).double()
    _, few = conjugate_gradients(lambda u: matrix @ u, vector, iterations=5, tolerance=1e-12)
    assert len(few) == 5
    solution, none = conjugate_gradients(lambda u: matrix @ u, 0 * vector, iterations=5, tolerance=1e-3)
    assert (none, solution.abs().max()) == ([], 0)


def small_cnn() -> nn.Module:
    torch.manual_seed(0)
    model = SmallCNN((1, 16, 16), 4).double()
    model(torch.rand(32, 1, 16, 16).double())  # running statistics
    return model.eval()


@pytest.mark.parametrize("make", [small_cnn, tiny_vit, tiny_swin])
def test_fisher_products_of_networks(make) -> None:
    model, batch = make(), batch_of(5, 1, 16, 16)
    rows = rows_by_loop(model, batch)
    torch.testing.assert_close(gradient_rows(model, batch), rows)
    vector = torch.randn(rows.shape[1]).double()
    with torch.no_grad():  # as in an edit
        found = fisher_product(model, batch, vector)
    torch.testing.assert_close(found, rows.T @ (rows @ vector))


def test_frozen_weights_have_no_part_in_influence() -> None:
    torch.manual_seed(0)
    model, batch = MLP((3,), 4, hidden=[5]).double(), batch_of(6, 3)
    whole = gradient_rows(model, batch)
    first = next(model.parameters())
    first.requires_grad_(False)
    rest = whole[:, first.numel() :]
    torch.testing.assert_close(gradient_rows(model, batch), rest)
    vector = torch.randn(rest.shape[1]).double()
    torch.testing.assert_close(fisher_product(model, batch, vector), rest.T @ (rest @ vector))


@pytest.mark.parametrize(
    ("option", "wrong"),
    [("damping", 0.0), ("tolerance", -1.0), ("samples", 0), ("iterations", 0), ("memory_gib", -1.0)],
)
def test_options_out_of_bounds_are_refused(option: str, wrong: float) -> None:
    with pytest.raises(UserError) as raised:
        check_options(WoodFisher, **{option: wrong})
    assert (raised.value.key, raised.value.kind) == (f"method.{option}", "value")


def test_conjugate_gradients_give_the_iterate_of_the_least_residual() -> None:
    """The third product is wrong, as rounding can make it: the iterate of the two before is kept."""
    matrix, vector, calls = torch.diag(torch.tensor([1.0, 2.0, 3.0]).double()), torch.ones(3).double(), []

    def product(u: torch.Tensor) -> torch.Tensor:
        calls.append(u)
        return matrix @ u + (10 if len(calls) == 3 else 0)

    found, residuals = conjugate_gradients(product, vector, iterations=3, tolerance=1e-9)
    expected, _ = conjugate_gradients(lambda u: matrix @ u, vector, iterations=2, tolerance=1e-9)
    assert residuals[2] > residuals[1]
    torch.testing.assert_close(found, expected)


# Fisher forgetting by batches


def information_of_batches(batch_size: int, other: float = 0.0) -> np.ndarray:
    """(2,) mean over retain batches of ``sum_y p(y) g_y^2``, where ``g_y`` is the gradient if all labels were y.

    ``other`` is added to each gradient.
    """
    x, p = RETAIN[0].reshape(-1, batch_size), probabilities(W, RETAIN[0]).reshape(-1, batch_size, 2)
    found = np.zeros(2)
    for pixels, chances in zip(x, p, strict=True):
        for label in (0, 1):
            g = ((chances - np.eye(2)[label]) * pixels[:, None]).mean(0) + other
            found += chances.mean(0)[label] * g**2 / len(x)
    return found


@pytest.mark.parametrize("batch_size", [1, 2])
def test_fisher_new_adds_noise_by_the_information_of_batches(tiny: Tiny, batch_size: int) -> None:
    noise = tiny.edit(FisherNew(tiny.model, alpha=1e-4, batch_size=batch_size))
    information = information_of_batches(batch_size)
    assert information.min() > 0.011  # the bound of 1e2 is not reached
    np.testing.assert_allclose(tiny.weight.numpy(), W + np.sqrt(10 * 1e-4 / information) * noise, rtol=1e-5)


def test_the_information_of_batches_of_one_sample_is_exact_and_that_of_larger_ones_smaller() -> None:
    p = probabilities(W, RETAIN[0])
    exact = (p * (1 - p) * RETAIN[0][:, None] ** 2).mean(0)
    np.testing.assert_allclose(information_of_batches(1), exact)
    assert (information_of_batches(2) < exact).all()


def test_fisher_new_squares_the_gradients_of_the_batch_that_processes_share(tiny: Tiny) -> None:
    """Two processes that see the same samples, of which the other one's gradients are all larger by 0.2."""
    method = FisherNew(tiny.model, batch_size=1)
    of_gradients = iter([False, True, True] * 2)  # the probabilities of both processes are the same
    method.averaged = lambda own: own + 0.1 if next(of_gradients) else own
    observe(tiny, method)
    np.testing.assert_allclose(method.observations["fisher"].numpy(), 2 * information_of_batches(1, 0.1), rtol=1e-5)
    assert method.observations["terms"] == 2
    assert next(of_gradients, None) is None


# Digits


@pytest.mark.slow
def test_wood_fisher_forgets_a_digit_and_keeps_the_others(places: list[str]) -> None:
    rows = rows_on_digits(places, "method=wood_fisher")
    retrained, unlearned = rows["retrained"], rows["unlearned"]
    assert rows["original"]["forget/acc"] == 1
    assert unlearned["forget/acc"] <= retrained["forget/acc"] + 0.02
    assert unlearned["retain/acc"] >= retrained["retain/acc"] - 0.02
    assert unlearned["test_retain/acc"] >= retrained["test_retain/acc"] - 0.04


@pytest.mark.slow
def test_fisher_new_forgets_a_digit_more_than_the_others(places: list[str]) -> None:
    """It redraws the rows of the class; with a thousandth of the noise's variance that alone leaves most of it."""
    rows = rows_on_digits(places, "method=fisher_new", "method.alpha=1e-5", "method.keep=null")
    assert rows["unlearned"]["forget/acc"] < 0.5
    assert rows["unlearned"]["retain/acc"] > 0.9
    gentle = rows_on_digits(places, "method=fisher_new", "method.keep=null")
    assert gentle["unlearned"]["forget/acc"] < 0.95
    assert gentle["unlearned"]["retain/acc"] > 0.98
