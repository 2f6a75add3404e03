"""GKT: its gate, its two networks and its attention maps, by hand; see ``by_hand``."""

import math

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from tests.by_hand import (
    LR,
    SGD,
    STILL,
    W,
    check_options,
    close,
    forgets_class_0,
    fresh_weight,
    gradient_to,
    probabilities,
)
from tests.conftest import Tiny
from unlearning.errors import UserError
from unlearning.methods.gkt import GKT, Generator, attention_maps
from unlearning.models.resnet import ResNet
from unlearning.models.small_cnn import SmallCNN


def test_gkt_gate_shuts_out_what_looks_like_a_forgotten_class(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    method = GKT(tiny.model, threshold=0.1)
    method.forgotten = torch.tensor([0, 2])
    likely = torch.tensor([[0.2, 0.8, 0.0], [0.05, 0.9, 0.05], [0.0, 0.5, 0.5]])
    assert method.gate((likely + 1e-9).log()).tolist() == [False, True, False]


def test_gkt_student_descends_from_random_weights_on_fakes(tiny: Tiny) -> None:
    forgets_class_0(tiny)
    fresh = fresh_weight(tiny, seed=5)
    options = {"pseudo_batches": 1, "generator_steps": 1, "student_steps": 2, "threshold": 1.0, "batch_size": 6}
    method = GKT(tiny.model, optimizer=SGD, generator_rate=0.1, **options)
    seen, student_loss = [], method.student_loss
    method.student_loss = lambda *given: seen.append(given[0]) or student_loss(*given)
    tiny.fit(method, seed=5)
    x = seen[0].flatten().numpy()
    assert x.mean() == pytest.approx(0, abs=1e-5)  # the last normalisation has no shift and no scale
    # the gradient of KL(teacher || student), of which the mean over two classes is a half
    first = fresh - LR / 2 * gradient_to(fresh, x, probabilities(W, x))
    close(tiny, first - LR / 2 * gradient_to(first, x, probabilities(W, x)), rtol=1e-4)
    # the generator's step: itself, student and teacher, there and back; the student's two: generator and teacher once
    assert (method.meter.forward, method.meter.backward) == (18 + 12 + 12, 18 + 12)


def test_gkt_generator_raises_the_divergence(tiny: Tiny) -> None:
    options = {"pseudo_batches": 30, "generator_steps": 1, "student_steps": 1, "threshold": 1.0, "batch_size": 64}
    method = GKT(tiny.model, optimizer=STILL, generator_rate=1e-2, **options)
    forgets_class_0(tiny).fit(method, seed=0)
    losses = torch.stack(method.curves["generator_loss"])
    assert losses[-10:].mean() < losses[:10].mean() < 0


def test_gkt_clips_the_gradients_of_both_networks(tiny: Tiny) -> None:
    fresh = fresh_weight(forgets_class_0(tiny), seed=5)
    options = {"pseudo_batches": 1, "generator_steps": 1, "student_steps": 1, "threshold": 1.0, "batch_size": 6}
    method = GKT(tiny.model, optimizer=SGD, clip_norm=1e-4, **options)
    tiny.fit(method, seed=5)
    assert (tiny.weight - torch.from_numpy(fresh)).norm().item() == pytest.approx(LR * 1e-4, rel=0.02)
    generator = torch.cat([weight.grad.flatten() for weight in method.generator.parameters()])
    assert generator.norm().item() == pytest.approx(1e-4, rel=0.02)


@pytest.mark.parametrize(("limit", "expected"), [(1.0, [0.6, 0.8]), (10.0, [3.0, 4.0]), (None, [3.0, 4.0])])
def test_a_clipped_gradient_keeps_its_direction(tiny: Tiny, limit: float | None, expected: list[float]) -> None:
    assert GKT(tiny.model, clip_norm=limit).clipped(torch.tensor([3.0, 4.0])).tolist() == pytest.approx(expected)


def test_gkt_tells_the_share_that_passes_the_gate(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    passed = iter([3, 1, 0])  # of four images; one alone is not learned from
    gates = (torch.arange(4) < next(passed) for _ in range(3))
    monkeypatch.setattr(GKT, "generator_loss", lambda self, images: None)
    monkeypatch.setattr(GKT, "gate", lambda self, logits: next(gates))
    method = GKT(tiny.model, optimizer=SGD, pseudo_batches=3, student_steps=2, batch_size=4)
    forgets_class_0(tiny).fit(method)
    assert torch.stack(method.curves["gate_share"]).tolist() == [0.75, 0.25, 0.0]
    assert len(method.curves["train_loss"]) == 2  # the student's steps on the first


def test_gkt_ends_where_nothing_passes_the_gate(tiny: Tiny) -> None:
    # A softmax over two classes of x in a few units is never as sure as that.
    method = GKT(tiny.model, optimizer=SGD, pseudo_batches=2, batch_size=4, threshold=1e-30)
    with pytest.raises(UserError) as raised:
        forgets_class_0(tiny).fit(method)
    assert raised.value.key == "method.threshold"


class Shown(nn.Module):
    """Its one attention map is that of the images."""

    def __init__(self) -> None:
        super().__init__()
        self.maps, self.pool, self.head = nn.Identity(), nn.Flatten(), nn.Linear(4, 2)
        self.blocks = [self.maps, self.head]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(self.maps(images)))


def test_the_loss_of_the_student_is_a_mean_over_classes_plus_that_of_its_attention() -> None:
    network = Shown()
    nn.init.zeros_(network.head.weight), nn.init.zeros_(network.head.bias)  # it says 1/2 and 1/2
    image, teacher = torch.tensor([[[[1.0, 2.0]], [[-1.0, 0.0]]]]), torch.tensor([[0.25, 0.75]])
    own = torch.tensor([[2.0, 4.0]]) / 20**0.5
    loss = GKT(network, attention_weight=7.0).student_loss(image, teacher.log(), [own + torch.tensor([[0.1, -0.3]])])
    divergence = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    assert loss.item() == pytest.approx(divergence / 2 + 7 * (0.1**2 + 0.3**2) / 2, rel=1e-5)


def test_attention_is_the_mean_square_over_channels_at_norm_1() -> None:
    image = torch.tensor([[[[1.0, 2.0]], [[-1.0, 0.0]]]])  # two channels, 1 x 2 pixels: squares sum to 2 and 4
    network = Shown()
    with attention_maps(network) as maps:
        network(image)
    torch.testing.assert_close(maps, [torch.tensor([[2.0, 4.0]]) / 20**0.5])
    network(image)
    assert len(maps) == 1  # it listens only inside


@pytest.mark.parametrize(
    ("network", "pixels"),
    [(SmallCNN((1, 8, 8), 10), [64, 64, 16]), (ResNet((1, 8, 8), 10, [1, 1], width=4), [64, 64, 16])],
)
def test_attention_maps_of_our_networks(network: nn.Module, pixels: list[int]) -> None:
    with attention_maps(network) as maps:
        network(torch.rand(2, 1, 8, 8))
    assert [m.shape for m in maps] == [(2, count) for count in pixels]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 30, 33)])
def test_generator_makes_images_of_any_size(shape: tuple[int, int, int]) -> None:
    images = Generator(5, shape)(torch.randn(4, 5))
    assert images.shape == (4, *shape)
    torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(shape[0]), atol=1e-4, rtol=0)


LEAST = {"z": 1, "pseudo_batches": 1, "generator_steps": 1, "student_steps": 1, "batch_size": 2, "attention_weight": 0}


@pytest.mark.parametrize(("option", "least"), LEAST.items())
def test_options_below_their_least_are_refused(tiny: Tiny, option: str, least: int) -> None:
    check_options(GKT, **{option: least})
    GKT(tiny.model, **{option: least})
    refused(option, least - 1)


@pytest.mark.parametrize(
    ("option", "wrong"), [("generator_rate", 0.0), ("clip_norm", 0.0), ("threshold", 0.0), ("threshold", 1.5)]
)
def test_a_rate_of_zero_and_a_threshold_that_is_not_a_probability_are_refused(option: str, wrong: float) -> None:
    refused(option, wrong)


def refused(option: str, value: float) -> None:
    with pytest.raises(UserError) as raised:
        check_options(GKT, **{option: value})
    assert (raised.value.key, raised.value.kind) == (f"method.{option}", "value")


def test_an_epoch_is_its_pseudo_batches_with_as_many_scheduled_steps_as_the_student_takes(tiny: Tiny) -> None:
    steps = []

    def schedule(optimizer: torch.optim.Optimizer, per_epoch: int, epochs: int) -> LambdaLR:
        steps.append(per_epoch)
        return LambdaLR(optimizer, lambda step: 1.0)

    options = {"pseudo_batches": 3, "student_steps": 2, "batch_size": 4, "threshold": 1.0}
    method = GKT(tiny.model, optimizer=SGD, schedule=schedule, epochs=2, **options)
    forgets_class_0(tiny).fit(method)
    assert steps == [6]
    assert len(method.curves["gate_share"]) == 6
    assert len(method.curves["train_loss"]) == 12
