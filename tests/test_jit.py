"""JiT: its loss, its gradient and its noise, by hand; see ``by_hand``."""

import functools

import numpy as np
import pytest
import torch
from torch import nn

from tests.by_hand import SGD, W, check_options
from tests.conftest import Tiny
from unlearning.data.noise import perturbed
from unlearning.errors import UserError
from unlearning.methods import jit
from unlearning.methods.jit import JiT
from unlearning.types import Batch


def test_jit_loss_of_a_linear_map_is_its_lipschitz_constant() -> None:
    # |3 Q x - 3 Q x'| = 3 |x - x'| for an orthogonal Q, whatever the noise; summed over 5 images.
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 4))
    torch.nn.init.orthogonal_(model[1].weight, gain=3.0)
    method = JiT(model, optimizer=SGD, sigma=0.1, copies=7)
    batch = Batch(torch.rand(5, 1, 2, 2), None, torch.arange(5), torch.ones(5, dtype=torch.bool))
    assert method.forget_loss(batch).item() == pytest.approx(15, rel=1e-4)
    method.reduction = "mean"
    assert method.forget_loss(batch).item() == pytest.approx(3, rel=1e-4)


@pytest.mark.parametrize(("reduction", "expected"), [("sum", 15), ("mean", 3)])
def test_jit_loss_of_processes_that_share_a_batch_is_that_of_one(
    reduction: str, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One has 3 of the images, one 2, and Lightning averages what they find; each image adds 3."""
    monkeypatch.setattr("unlearning.methods.jit.number_of_processes", lambda: 2)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 4))
    torch.nn.init.orthogonal_(model[1].weight, gain=3.0)
    method = JiT(model, optimizer=SGD, sigma=0.1, copies=7, reduction=reduction)
    images = torch.rand(5, 1, 2, 2).split((3, 2))
    shares = [Batch(part, None, torch.arange(len(part)), torch.ones(len(part), dtype=torch.bool)) for part in images]
    losses = [method.forget_loss(share).item() for share in shares]
    assert sum(losses) / 2 == pytest.approx(expected, rel=1e-4)


def test_jit_gradient_stops_at_the_noisy_copies(tiny: Tiny) -> None:
    method = JiT(tiny.model, optimizer=SGD, sigma=0.1, copies=1)
    x = torch.tensor([0.3, 0.0, 1.0, 0.6])
    batch = Batch(x.view(4, 1, 1, 1), None, torch.arange(4), torch.ones(4, dtype=torch.bool))
    torch.manual_seed(3)
    method.forget_loss(batch).backward()
    torch.manual_seed(3)
    noisy = (x + 0.1 * torch.randn(4, 1, 1, 1).flatten()).clamp(0, 1)
    x, noisy = x[x != noisy].numpy(), noisy[x != noisy].numpy()  # a copy on the clamp's edge counts for nothing
    # d/dw |w x - c| / |x - x'| at c = w x' is w sign(x - x') x / (|w| |x - x'|)
    expected = W / np.linalg.norm(W) * (np.sign(x - noisy) * x / np.abs(x - noisy)).sum()
    np.testing.assert_allclose(tiny.model[1].weight.grad.flatten().numpy(), expected, rtol=1e-3)


def images(count: int) -> Batch:
    torch.manual_seed(0)
    return Batch(torch.rand(count, 1, 2, 2), None, torch.arange(count), torch.ones(count, dtype=torch.bool))


def test_noise_is_as_large_as_it_says_and_stays_in_the_range() -> None:
    grey = torch.full((1, 1, 100, 100), 0.5)
    grey[0, 0, 0, :2] = torch.tensor([0.0, 1.0])  # the range of the batch
    gaussian = perturbed(grey, 0.1, "gaussian") - grey
    assert gaussian.std().item() == pytest.approx(0.1, rel=0.05)
    uniform = perturbed(grey, 0.3, "uniform") - grey
    assert uniform.std().item() == pytest.approx(0.3 / 3**0.5, rel=0.05)
    assert uniform.abs().max() <= 0.3
    salted = perturbed(grey, 0.2, "salt_and_pepper")
    assert salted.unique().tolist() == [0.0, 0.5, 1.0]
    assert (salted == 0).float().mean().item() == pytest.approx(0.1, abs=0.02)
    assert (salted == 1).float().mean().item() == pytest.approx(0.1, abs=0.02)
    wide = perturbed(grey, 50.0)
    assert (wide.min(), wide.max()) == (0, 1)


@pytest.mark.parametrize("stack", [1, 12, 1000])
def test_jit_stacks_decide_the_memory_and_not_the_result(monkeypatch: pytest.MonkeyPatch, stack: int) -> None:
    monkeypatch.setattr(jit, "STACK", stack)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 4))
    nn.init.orthogonal_(model[1].weight, gain=3.0)  # |f(x) - f(x')| = 3 |x - x'| for any x'
    sizes = []
    model.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    loss = JiT(model, copies=7).forget_loss(images(5))
    assert loss.item() == pytest.approx(15, rel=1e-4)
    assert sum(sizes) == 5 + 7 * 5
    assert max(sizes) == {1: 5, 12: 10, 1000: 35}[stack]


@pytest.mark.parametrize("training", [False, True])
def test_jit_counts_a_copy_without_noise_as_nothing(training: bool) -> None:
    """Equal images get unequal logits in other batches and under BatchNorm: divided by a distance of 0 they explode."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(32, 4))
    loss = JiT(model.train(training), noise="salt_and_pepper", sigma=1e-9, copies=30).forget_loss(images(3))
    loss.backward()
    assert loss == 0  # no pixel of the 360 was hit
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_jit_keeps_gradients_by_momentum_1(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two batches of one image each: the second step is along the sum of both gradients."""
    seen = []
    forget_loss = JiT.forget_loss

    def noted(self: JiT, batch: Batch) -> torch.Tensor:
        loss = forget_loss(self, batch)
        seen.append(torch.autograd.grad(loss, self.model[1].weight, retain_graph=True)[0].flatten().clone())
        return loss

    monkeypatch.setattr(JiT, "forget_loss", noted)
    before = tiny.weight
    sgd = functools.partial(torch.optim.SGD, lr=0.01, momentum=1.0)
    tiny.fit(JiT(tiny.model, noise="uniform", sigma=0.5, optimizer=sgd, batch_size=1))
    assert len(seen) == 2
    torch.testing.assert_close(tiny.weight, before - 0.01 * (2 * seen[0] + seen[1]))


def test_jit_refuses_a_share_of_pixels_above_one() -> None:
    with pytest.raises(UserError) as raised:
        JiT(nn.Identity(), sigma=1.5, noise="salt_and_pepper")
    assert raised.value.key == "method.sigma"
    JiT(nn.Identity(), sigma=1.5, noise="uniform")


@pytest.mark.parametrize(("option", "wrong"), [("sigma", 0.0), ("copies", 0)])
def test_options_out_of_bounds_are_refused(option: str, wrong: float) -> None:
    with pytest.raises(UserError) as raised:
        check_options(JiT, **{option: wrong})
    assert (raised.value.key, raised.value.kind) == (f"method.{option}", "value")
