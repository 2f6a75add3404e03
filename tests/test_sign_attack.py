"""The attack in pixel space against numpy: steps, noise, schedules, the box, and the way to the boundary."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import softmax
from torch import Tensor

from unlearning.gradients.sign_attack import Box, SignAttack, drawn

RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(size=(3, 12))  # three classes of images of 3 x 2 x 2, which the network sees normalised
MEAN, STD = np.array([0.5, 0.4, 0.3]), np.array([0.2, 0.25, 0.3])
PIXELS = RNG.uniform(0.05, 0.95, size=(5, 3, 2, 2))
LABELS = np.array([0, 1, 2, 0, 1])
BOX = Box(*(torch.tensor(bound).view(3, 1, 1) for bound in (-MEAN / STD, (1 - MEAN) / STD)))


def logits(pixels: Tensor) -> Tensor:
    return BOX.inputs(pixels).flatten(1) @ torch.from_numpy(WEIGHT).T


def slope(pixels: np.ndarray) -> np.ndarray:
    """d CE / d pixel by the chain rule: W^T (p - onehot) / std."""
    std = STD[:, None, None]
    inputs = ((pixels - MEAN[:, None, None]) / std).reshape(len(pixels), -1)
    error = softmax(inputs @ WEIGHT.T, axis=1) - np.eye(3)[LABELS]
    return (error @ WEIGHT).reshape(pixels.shape) / std


def moved(attack: SignAttack) -> np.ndarray:
    torch.manual_seed(3)
    return attack.moved(logits, torch.from_numpy(PIXELS), torch.from_numpy(LABELS)).numpy()


def test_the_normaliser_is_undone_and_done() -> None:
    inputs = BOX.inputs(torch.from_numpy(PIXELS))
    expected = (PIXELS - MEAN[:, None, None]) / STD[:, None, None]
    np.testing.assert_allclose(inputs.numpy(), expected)
    np.testing.assert_allclose(BOX.pixels(inputs).numpy(), PIXELS)


def test_a_feature_without_a_range_stays_as_it_is() -> None:
    box = Box(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 2.0]))
    samples = torch.tensor([[2.0, 2.0]])
    assert box.pixels(samples).tolist() == [[0.5, 0.0]]
    assert box.inputs(torch.tensor([[1.0, 0.7]])).tolist() == [[3.0, 2.0]]


def test_fgsm_moves_each_pixel_by_the_radius_along_the_sign() -> None:
    expected = (PIXELS + 0.1 * np.sign(slope(PIXELS))).clip(0, 1)
    np.testing.assert_allclose(moved(SignAttack(radius=0.1)), expected)
    assert (expected == 0).any()  # the box is felt
    assert (expected == 1).any()


def test_steps_stay_within_the_radius_and_are_pulled_back() -> None:
    attack = SignAttack(radius=0.05, steps=4, step_size=0.02, lam=20.0, lam_schedule="inverse")
    points = PIXELS
    for step in range(1, 5):
        direction = np.sign(slope(points) - 20.0 / step * (points - PIXELS))
        points = (PIXELS + (points + 0.02 * direction - PIXELS).clip(-0.05, 0.05)).clip(0, 1)
    np.testing.assert_allclose(moved(attack), points)
    free = moved(SignAttack(radius=0.05, steps=4, step_size=0.02))
    assert np.abs(points - PIXELS).mean() < np.abs(free - PIXELS).mean()  # towards the sample
    np.testing.assert_allclose(np.abs(free - PIXELS).max(), 0.05)


def test_a_random_start_is_uniform_within_the_radius_and_the_box() -> None:
    attack = SignAttack(radius=0.2, step_size=0.01, random_start=True)
    torch.manual_seed(3)
    start = (PIXELS + 0.2 * (2 * torch.rand(PIXELS.shape, dtype=torch.float64).numpy() - 1)).clip(0, 1)
    expected = start + 0.01 * np.sign(slope(start))
    np.testing.assert_allclose(moved(attack), (PIXELS + (expected - PIXELS).clip(-0.2, 0.2)).clip(0, 1))


@pytest.mark.parametrize("relative", [False, True])
def test_noise_is_added_before_the_sign(relative: bool) -> None:
    gradient = slope(PIXELS)
    scale = np.abs(gradient).mean((1, 2, 3), keepdims=True) if relative else 1.0
    torch.manual_seed(3)
    noise = torch.randn(PIXELS.shape, dtype=torch.float64).numpy()
    expected = (PIXELS + 0.1 * np.sign(gradient + 0.7 * scale * noise)).clip(0, 1)
    np.testing.assert_allclose(moved(SignAttack(gamma=0.7, relative=relative)), expected)
    assert not np.allclose(expected, moved(SignAttack()))


@pytest.mark.parametrize(
    ("kind", "law"),
    [
        ("normal", stats.norm()),
        ("cauchy", stats.cauchy()),
        ("laplace", stats.laplace()),
        ("uniform", stats.uniform(-1, 2)),
    ],
)
def test_noise_has_its_distribution(kind: str, law: stats.rv_continuous) -> None:
    torch.manual_seed(0)
    draws = drawn(kind, torch.empty(100, 200)).flatten().numpy()
    assert stats.kstest(draws, law.cdf).pvalue > 0.01
    assert abs(np.corrcoef(draws[:-1] > 0, draws[1:] > 0)[0, 1]) < 0.03  # each pixel has its own


def test_schedules_of_the_pull() -> None:
    steps = range(1, 6)

    def pulls(name: str) -> list[float]:
        return [SignAttack(steps=5, lam=2.0, lam_schedule=name).pull(step) for step in steps]

    assert pulls("none") == [2.0] * 5
    assert pulls("inverse") == pytest.approx([2, 1, 2 / 3, 0.5, 0.4])
    assert pulls("exponential") == pytest.approx([2 * math.exp(-0.01 * t) for t in steps])
    assert pulls("linear") == pytest.approx([1.6, 1.2, 0.8, 0.4, 0])


def test_a_sample_is_moved_alike_in_any_batch() -> None:
    """The gradient is that of its own loss, so that processes which share a batch find the same points."""
    attack = SignAttack(steps=3, step_size=0.04, lam=0.3)
    alone = [
        attack.moved(logits, torch.from_numpy(PIXELS[i : i + 1]), torch.from_numpy(LABELS[i : i + 1])).numpy()
        for i in range(5)
    ]
    np.testing.assert_allclose(np.concatenate(alone), moved(attack))


def test_the_boundary_is_found_on_the_line_to_the_first_point_of_another_class() -> None:
    """For f = (w u, -w u), w = (1, 3), the boundary is u_1 + 3 u_2 = c, and the sign moves both pixels alike."""

    def halves(pixels: Tensor) -> Tensor:
        score = pixels @ torch.tensor([1.0, 3.0]) - 1.0
        return torch.stack([score, -score], 1)

    pixels, labels = torch.tensor([[0.8, 0.6], [0.1, 0.5], [0.0, 0.1], [1.0, 1.0]]), torch.tensor([0, 0, 1, 1])
    found = SignAttack(radius=0.5, steps=50, step_size=0.01).boundary(halves, pixels, labels, halvings=20)
    # Both pixels move alike, so a score s is at distance |s| / 4; the second sample meets the side of the box at 0.
    # The last one is misclassified as it is.
    points = np.array([[0.4, 0.2], [0.0, 1 / 3], [0.175, 0.275], [1.0, 1.0]])
    assert found.crossed.all()
    np.testing.assert_allclose(found.points, points, atol=5e-3)
    assert halves(found.points)[:3, 0].abs().max() < 1e-3
    change = points - pixels.numpy()
    np.testing.assert_allclose(found.largest, np.abs(change).max(1), atol=5e-3)
    np.testing.assert_allclose(found.euclidean, np.linalg.norm(change, axis=1), atol=5e-3)


def test_a_boundary_out_of_reach_is_not_crossed() -> None:
    pixels = torch.tensor([[0.9]])
    found = SignAttack(radius=0.1, steps=5, step_size=0.05).boundary(
        lambda u: torch.cat([u, 0.5 - u], 1) * 9, pixels, torch.tensor([0])
    )
    assert not found.crossed.any()
    assert found.largest.item() == pytest.approx(0.1)
