"""Langevin unlearning and Boundary Shrink: their targets and steps by hand; see ``by_hand``."""

import copy
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.by_hand import FORGET, LR, RETAIN, SGD, STILL, W, close, gradient, gradient_to, probabilities
from tests.conftest import Tiny, composed, tiny_vit
from tests.digits import rows
from unlearning.errors import UserError
from unlearning.gradients.sign_attack import Box, SignAttack
from unlearning.methods.langevin import Attacked, Langevin
from unlearning.types import Batch

# The original takes both forget samples, x = .2 of class 0 and x = 1 of class 1, for class 0. Their slopes are
# sum_c (p_c - y_c) w_c: -1.5 p_1 < 0 and 1.5 p_0 > 0, so that FGSM moves to x = .1 and to 1, the end of the box.
FGSM = SignAttack(radius=0.1)
ATTACKED = np.array([0.1, 1.0])


def test_boundary_shrink_teaches_the_class_at_the_attacked_point(tiny: Tiny) -> None:
    method = Langevin(tiny.model, optimizer=SGD, attack=FGSM)
    tiny.fit(method)
    close(tiny, W - LR * gradient(W, FORGET[0], np.array([0, 0])))
    assert torch.stack(method.curves["attack_success"]).tolist() == [0.5]  # the second one's own class is 1
    assert method.access == {"forget": "inputs and labels"}


def test_soft_targets_are_the_probabilities_of_the_original(tiny: Tiny) -> None:
    tiny.fit(Langevin(tiny.model, optimizer=SGD, attack=FGSM, targets="soft", epochs=2))
    targets = probabilities(W, ATTACKED)  # the original's, also in the second step
    first = W - LR * gradient_to(W, FORGET[0], targets)
    close(tiny, first - LR * gradient_to(first, FORGET[0], targets))


@pytest.mark.parametrize("soft", [False, True])
def test_phi_weighs_the_retain_samples(tiny: Tiny, soft: bool) -> None:
    kind = "soft" if soft else "hard"
    options = {"retain_weight": 0.3, "retain_targets": kind, "epochs": 2}
    method = Langevin(tiny.model, optimizer=SGD, attack=FGSM, **options)
    tiny.fit(method)
    x, y = RETAIN
    targets, expected = probabilities(W, x) if soft else np.eye(2)[y], W
    for _ in range(2):
        forgetting = gradient(expected, FORGET[0], np.array([0, 0]))
        expected = expected - LR * (forgetting + 0.3 * gradient_to(expected, x, targets))
    close(tiny, expected)
    assert set(method.access) == {"forget", "retain"}


@pytest.mark.parametrize("name", ["langevin", "enhanced_shrink"])  # by way of boundary_shrink
def test_phi_does_not_change_the_number_of_steps(tiny: Tiny, name: str) -> None:
    """A pass is one over the forget set, one batch here, although the retain set has two."""
    node = composed(f"method={name}", "method.retain_weight=0.1", "method.epochs=3")[0]["method"]
    options = {"epochs": node["epochs"], "epoch_of": node["epoch_of"], "batch_size": 1, "forget_batch_size": 2}
    method = Langevin(tiny.model, FGSM, optimizer=STILL, retain_weight=node["retain_weight"], **options)
    tiny.fit(method)
    assert len(method.curves["forget_loss"]) == len(method.curves["retain_loss"]) == 3


def test_top_k_keeps_the_most_probable_classes_and_their_ratio(tiny: Tiny) -> None:
    method = Langevin(tiny.model, top_k=2, targets="soft")
    probabilities = torch.tensor([[0.1, 0.6, 0.3], [0.5, 0.25, 0.25]])
    found = method.soft(probabilities.log())
    torch.testing.assert_close(found[0], torch.tensor([0, 2 / 3, 1 / 3]))
    assert Langevin(tiny.model, top_k=9, targets="soft").soft(probabilities.log()).tolist() == pytest.approx(
        probabilities
    )


@pytest.mark.parametrize("options", [{}, {"retain_weight": 0.1}, {"retain_targets": "soft"}])
def test_top_k_without_soft_targets_is_refused(tiny: Tiny, options: dict[str, Any]) -> None:
    with pytest.raises(UserError) as error:
        Langevin(tiny.model, top_k=2, **options)
    assert (error.value.key, error.value.kind) == ("method.top_k", "conflict")


def test_top_k_is_of_the_soft_targets_of_one_side(tiny: Tiny) -> None:
    Langevin(tiny.model, top_k=2, targets="soft")
    Langevin(tiny.model, top_k=2, retain_targets="soft", retain_weight=0.1)


def test_the_attack_is_on_the_pixels_of_the_data_set(tiny: Tiny) -> None:
    """With mean .5 and deviation .25 the network sees 4 x - 2, and a radius of .1 is .4 of that."""
    tiny.data = replace(tiny.data, mean=(0.5,), std=(0.25,))
    inputs, attacked = 4 * FORGET[0] - 2, np.array([0.1, 1.0]) * 4 - 2
    method = Langevin(tiny.model, optimizer=SGD, attack=FGSM, targets="soft")
    slopes = ((probabilities(W, inputs) - np.eye(2)[FORGET[1]]) * W).sum(1)
    assert (np.sign(slopes) == [-1, 1]).all()
    tiny.fit(method)
    close(tiny, W - LR * gradient_to(W, inputs, probabilities(W, attacked)))


def test_the_box_of_float_samples_is_the_range_of_the_forget_set(tiny: Tiny) -> None:
    features = torch.tensor([[0.0, 5.0], [2.0, 5.0], [9.0, 9.0], [-9.0, -9.0]])
    tiny.data = replace(tiny.data, inputs=features, mean=(), std=())
    tiny.model[1] = nn.Linear(2, 2)
    method = Langevin(tiny.model, optimizer=SGD)
    tiny.fit(method)
    assert [bound.tolist() for bound in method.attacked.box] == [[0.0, 5.0], [2.0, 5.0]]


def test_points_are_remembered_unless_noise_draws_them_anew(tiny: Tiny) -> None:
    """Of one epoch: 2 + 2 samples through the attacked original, forward, and 2 backward, and as many in the model."""
    passes = {}
    for name, attack in {"still": FGSM, "noise": SignAttack(gamma=1.0)}.items():
        method = Langevin(tiny.model, optimizer=STILL, attack=attack, epochs=3)
        tiny.fit(method)
        passes[name] = method.meter.forward, method.meter.backward
    assert passes == {"still": (4 + 6, 2 + 6), "noise": (3 * 4 + 6, 3 * 2 + 6)}


def test_noise_and_random_starts_go_by_the_ids_of_the_samples(tiny: Tiny) -> None:
    """The start within .1, and the noise of the one step, are the first draws of the generator, a row for each id."""
    attack = SignAttack(radius=0.1, step_size=0.02, gamma=2.0, random_start=True, noise="laplace")
    moved = Attacked(nn.Flatten(), attack)
    moved.box = Box(torch.zeros(1, 1, 1), torch.ones(1, 1, 1))
    pixels = torch.tensor([0.5, 0.3, 0.8, 0.2, 0.6, 0.4]).view(3, 2, 1, 1)
    batch = Batch(pixels, torch.tensor([0, 1, 0]), torch.tensor([30, 10, 20]), torch.ones(3, dtype=torch.bool))
    torch.manual_seed(3)
    found = moved.answer(batch)

    generator = torch.Generator().manual_seed(3 + zlib.crc32(b"langevin"))
    rows = torch.tensor([2, 0, 1])  # of the ids among 10, 20, 30

    def drawn() -> torch.Tensor:
        return torch.empty(3, 2).exponential_(generator=generator)

    u = pixels.flatten(1)
    start = u + 0.1 * (2 * torch.rand(3, 2, generator=generator) - 1)[rows]
    noise = drawn() - drawn()
    slope = start.softmax(1) - torch.tensor([[1, 0], [0, 1], [1, 0]])  # of a network that returns its pixels
    step = 0.02 * (slope + 2 * noise[rows]).sign()
    torch.testing.assert_close(found, u + (start + step - u).clamp(-0.1, 0.1))


class Normed(nn.Sequential):
    """BatchNorm and a linear map of one pixel."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.BatchNorm1d(1), nn.Linear(1, 2, bias=False))


@pytest.mark.parametrize(
    ("policy", "statistics", "weights"), [("train", True, True), ("eval", False, True), ("frozen", False, False)]
)
def test_the_policy_for_batch_norm(tiny: Tiny, policy: str, statistics: bool, weights: bool) -> None:
    torch.manual_seed(0)
    tiny.model = Normed()
    before = {name: tensor.clone() for name, tensor in tiny.model.state_dict().items()}
    tiny.fit(Langevin(tiny.model, optimizer=SGD, batch_norm=policy, epochs=2))
    moved = {name: not torch.equal(tensor, before[name]) for name, tensor in tiny.model.state_dict().items()}
    assert moved["1.running_mean"] == statistics
    assert moved["1.bias"] == weights
    assert moved["2.weight"]
    assert all(parameter.requires_grad for parameter in tiny.model.parameters())


def test_statistics_alone_drift_at_a_rate_of_zero(tiny: Tiny) -> None:
    """The control of the paper's claim: with ``train`` the model changes without a step."""
    tiny.model = Normed()
    tiny.fit(Langevin(tiny.model, optimizer=STILL))
    batch = FORGET[0]
    assert tiny.model[1].running_mean.item() == pytest.approx(0.1 * batch.mean())
    assert tiny.model[1].running_var.item() == pytest.approx(0.9 + 0.1 * batch.var(ddof=1))


def test_a_transformer_without_batch_norm_moves_to_the_attacked_class() -> None:
    torch.manual_seed(0)
    images, labels = torch.randint(256, (12, 16, 16, 1), dtype=torch.uint8), torch.arange(12) % 4
    tiny = Tiny()
    ids = torch.arange(12)
    tiny.data = replace(tiny.data, inputs=images, labels=labels, classes=tuple("abcd"), train=ids, test=ids)
    tiny.split = replace(tiny.split, train=ids, forget=ids[:6], retain=ids[6:])
    tiny.model = tiny_vit().float()
    original, classes = copy.deepcopy(tiny.model), []

    class Heard(Langevin):
        def nearest(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
            logits, targets = super().nearest(batch)
            classes.append(targets[batch.ids.argsort()])
            return logits, targets

    attack = SignAttack(steps=3, step_size=0.05, gamma=1.0, relative=True)
    method = Heard(tiny.model, attack, optimizer=SGD)
    tiny.fit(method)
    (targets,) = classes  # of one step with the whole forget set
    inputs = images[:6].movedim(3, 1) / 255
    with torch.no_grad():
        before, after = (
            network.float().eval()(inputs).log_softmax(1).gather(1, targets[:, None])
            for network in (original, tiny.model)
        )
    assert torch.stack(method.curves["forget_loss"]).tolist() == pytest.approx([-before.mean().item()], rel=1e-4)
    assert after.mean() > before.mean()


PULLED = {"gamma": 0.0, "lam": 0.1}


@pytest.mark.parametrize(
    ("key", "attack", "options"),
    [
        ("method.attack.lam", SignAttack(**PULLED), {}),
        ("method.attack.lam", SignAttack(**PULLED, random_start=True, lam_schedule="linear"), {}),
        ("method.attack.lam", SignAttack(**PULLED, steps=2, lam_schedule="linear"), {}),
        ("method.attack.lam_schedule", SignAttack(steps=3, lam_schedule="inverse"), {}),
        ("method.retain_targets", FGSM, {"retain_targets": "soft"}),
    ],
)
def test_what_has_no_effect_is_refused(tiny: Tiny, key: str, attack: SignAttack, options: dict[str, Any]) -> None:
    method = Langevin(tiny.model, attack, **options)
    with pytest.raises(UserError) as refused:
        method.check(tiny.problem.task)
    assert (refused.value.key, refused.value.kind) == (key, "conflict")


def test_what_has_an_effect_is_taken(tiny: Tiny) -> None:
    attacks = {"steps": 2}, {"random_start": True}, {"steps": 3, "lam_schedule": "linear"}
    for options in attacks:
        Langevin(tiny.model, SignAttack(**PULLED, **options)).check(tiny.problem.task)
    Langevin(tiny.model, FGSM, retain_targets="soft", retain_weight=0.1).check(tiny.problem.task)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["boundary_shrink", "langevin"])
def test_forgets_a_class_of_the_digits(method: str, places: list[str]) -> None:
    found = rows(places, f"method={method}")
    assert found["original"]["forget/acc"] == 1
    assert found["unlearned"]["forget/acc"] <= 0.1
    assert found["unlearned"]["retain/acc"] >= 0.95
