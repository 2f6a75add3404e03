"""The bi-objective methods and those that disturb before they fine-tune: their steps by hand, and a digit forgotten."""

import functools
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import nn

from tests.by_hand import FORGET, LR, RETAIN, SGD, STILL, W, check_options, close, gradient
from tests.conftest import Tiny
from tests.digits import rows
from unlearning.addons.holder import Holder
from unlearning.addons.saliency import Saliency
from unlearning.errors import UserError
from unlearning.gradients.vectors import weights_of
from unlearning.methods.conv_transpose import ConvTranspose
from unlearning.methods.finetune import FineTune
from unlearning.methods.msg import MSG
from unlearning.methods.neggrad_plus import NegGradPlus
from unlearning.methods.random_label import RandomLabel
from unlearning.methods.rl_proximal import RLProximal
from unlearning.methods.scrub_joint import ScrubJoint
from unlearning.schedules import multistep
from unlearning.types import Batch, Gradients, Steps

WRONG = FORGET[0], 1 - FORGET[1]  # the other of two classes


# Random labels


def test_random_label_descends_on_wrong_labels_and_on_retain(tiny: Tiny) -> None:
    tiny.fit(RandomLabel(tiny.model, SGD, forget_weight=0.2, retain_weight=0.8))
    close(tiny, W - LR * (0.8 * gradient(W, *RETAIN) + 0.2 * gradient(W, *WRONG)))


def test_random_labels_are_wrong_even_and_new_in_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RandomLabel, "task", SimpleNamespace(num_classes=4))
    method = RandomLabel(nn.Identity())
    labels = torch.arange(4).repeat(1000)

    def drawn() -> torch.Tensor:
        # At logits of 0 the gradient of a sample's cross-entropy is 1/4 - onehot(label): least at its label.
        logits = torch.zeros(len(labels), 4, requires_grad=True)
        method.forget_loss(Batch(logits, labels, labels, labels)).backward()
        return logits.grad.argmin(1)

    torch.manual_seed(0)
    first, second = drawn(), drawn()
    counts = torch.stack([torch.bincount(first[labels == c], minlength=4) for c in range(4)])
    assert counts.diagonal().tolist() == [0, 0, 0, 0]
    others = counts[~torch.eye(4, dtype=torch.bool)]
    assert (others - 1000 / 3).abs().max() < 4 * (1000 * 2 / 9) ** 0.5  # four standard deviations
    assert 0.6 < (first != second).double().mean() < 0.73  # two thirds


# Proximal


def thresholded(w: np.ndarray, by: float) -> np.ndarray:
    return W + np.sign(w - W) * np.maximum(np.abs(w - W) - by, 0)


@pytest.mark.parametrize("schedule", [None, functools.partial(multistep, milestones=[1], gamma=0.1)])
def test_proximal_steps_are_shrunk_towards_the_original_weights(tiny: Tiny, schedule: Callable | None) -> None:
    method = RLProximal(
        tiny.model, sparsity=0.05, optimizer=SGD, schedule=schedule, epochs=2, forget_weight=0.5, retain_weight=0.5
    )
    tiny.fit(method)
    w, rates = W, (LR, LR if schedule is None else 0.1 * LR)
    for lr in rates:  # the threshold is that of the step's own rate
        w = thresholded(w - lr * 0.5 * (gradient(w, *RETAIN) + gradient(w, *WRONG)), lr * 0.05)
    assert np.abs(w - W).max() > 0.01
    close(tiny, w)


def test_proximal_leaves_weights_bit_equal_whose_pull_is_weak(tiny: Tiny) -> None:
    pull = np.abs(gradient(W, *RETAIN) + gradient(W, *WRONG)).max()
    method = RLProximal(tiny.model, sparsity=1.01 * pull, optimizer=SGD, epochs=3)
    tiny.fit(method)
    assert tiny.weight.tolist() == W.tolist()


# SCRUB in one step


def test_scrub_joint_takes_both_objectives_in_a_step(tiny: Tiny) -> None:
    alpha, gamma, temperature = 0.5, 2.0, 3.0
    method = ScrubJoint(
        tiny.model, alpha, gamma, temperature, optimizer=SGD, epochs=2, forget_weight=0.3, retain_weight=0.7
    )
    tiny.fit(method)

    def divergence(w: np.ndarray, x: np.ndarray) -> np.ndarray:
        """d/dw T^2 KL(softmax(W x / T) || softmax(w x / T)) = T (softmax(w x / T) - softmax(W x / T)) x, a mean."""
        student, teacher = (softmax(np.outer(x, v) / temperature, axis=1) for v in (w, W))
        return temperature * ((student - teacher) * x[:, None]).mean(0)

    w = W
    for _ in range(2):  # the first step starts at the teacher, where the divergences have no gradient
        retain = gamma * gradient(w, *RETAIN) + alpha * divergence(w, RETAIN[0])
        w = w - LR * (0.7 * retain - 0.3 * divergence(w, FORGET[0]))
    assert np.abs(divergence(w, FORGET[0])).max() > 0.01
    close(tiny, w)


# The length of an epoch


@pytest.mark.parametrize(("epoch_of", "steps"), [("longest", 2), ("forget", 1)])
def test_an_epoch_is_a_pass_over_the_longest_stream_or_the_forget_set(tiny: Tiny, epoch_of: str, steps: int) -> None:
    method = NegGradPlus(tiny.model, STILL, epoch_of=epoch_of, batch_size=1, forget_batch_size=2, epochs=3)
    tiny.fit(method)  # two retain batches and one forget batch
    assert len(method.curves["forget_loss"]) == len(method.curves["retain_loss"]) == 3 * steps
    assert method.steps_per_epoch == steps


def test_an_epoch_of_a_method_that_sees_no_forget_sample_can_have_a_step_for_each_forget_batch(tiny: Tiny) -> None:
    method = FineTune(tiny.model, STILL, epoch_of="forget", batch_size=1, forget_batch_size=2, epochs=3)
    tiny.fit(method)  # two retain batches and, if it were drawn, one forget batch
    assert len(method.curves["retain_loss"]) == 3 * method.steps_per_epoch == 3
    assert method.access == {"retain": "inputs and labels"}


def test_an_epoch_of_forget_batches_starts_a_shorter_retain_set_again(tiny: Tiny) -> None:
    """BatchNorm cannot train on a lone sample, but here these are counted and not drawn."""
    tiny.model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(1), nn.Linear(1, 2))
    method = FineTune(tiny.model, STILL, epoch_of="forget", batch_size=2, forget_batch_size=1, epochs=3)
    tiny.fit(method)
    assert len(method.curves["retain_loss"]) == 3 * method.steps_per_epoch == 6


# Disturb, then fine-tune


class ThreeClasses(Tiny):
    """Class 2 is forgotten and not retained: its weight is so small that no other sample has a gradient on it."""

    labels = (2, 2, 0, 1)

    def __init__(self, others: int = 1) -> None:
        super().__init__()
        self.model[1] = nn.Linear(1, 2 + others, bias=False)
        with torch.no_grad():
            self.model[1].weight.copy_(torch.tensor([[0.5], [-1.0], *[[-9000.0]] * others]))


def test_msg_disturbs_what_matters_to_one_side_alone() -> None:
    # A: class 2 has |g_f| = mean x = .6, more than any other, but |g_r| = 0. The third of three is the least of them.
    tiny = ThreeClasses()
    tiny.fit(MSG(tiny.model, optimizer=STILL, share=1 / 3))
    assert tiny.weight[:2].tolist() == [0.5, -1.0]
    assert tiny.weight[2] != -9000


class UnlikePairs(Tiny):
    """Forget samples (x, y) = (.2, 0) and (.2, 2), and the retain sample (.8, 0) twice, at the weights -2, 3, 2."""

    pixels = (51, 51, 204, 204)
    labels = (0, 2, 0, 0)

    def __init__(self) -> None:
        super().__init__()
        self.model[1] = nn.Linear(1, 3, bias=False)
        with torch.no_grad():
            self.model[1].weight.copy_(torch.tensor([[-2.0], [3.0], [2.0]]))


@pytest.mark.parametrize(("batch_size", "least"), [(1, 1), (2, 2)])
def test_msg_adds_up_pairs_of_batches_of_the_size_of_its_steps(batch_size: int, least: int) -> None:
    # softmax(-.4, .6, .4) = (.168, .457, .374), so |g_f| = .2 (.832, .457, .374) and .2 (.168, .457, .626) by sample;
    # |g_r| = .8 (.988, .681, .306) is above both. Of pairs of one sample each class 2 is the least, and class 0, but
    # of the sum (.200, .183, .200) class 1. One pair of two samples has |g_f| = .1 (.664, .914, .251): class 2.
    tiny = UnlikePairs()
    tiny.fit(MSG(tiny.model, optimizer=STILL, share=1 / 3, batch_size=batch_size))
    assert (tiny.weight != torch.tensor([-2.0, 3.0, 2.0])).nonzero().flatten().tolist() == [least]


def test_msg_multiplies_by_a_normal_number() -> None:
    torch.manual_seed(0)
    tiny = ThreeClasses(others=400)
    tiny.fit(MSG(tiny.model, optimizer=STILL, share=0.3))  # all 400 have A = 0, the quantile
    assert tiny.weight[:2].tolist() == [0.5, -1.0]
    factors = tiny.weight[2:] / -9000
    assert factors.mean().abs() < 0.2  # four standard errors
    assert 0.86 < factors.std() < 1.14


def test_msg_then_fine_tunes(tiny: Tiny) -> None:
    method = MSG(tiny.model, optimizer=SGD)
    start = []
    method.on_train_epoch_start = lambda: start.append(tiny.weight.numpy().astype(float))
    tiny.fit(method)
    assert (start[0] != W).any()
    close(tiny, start[0] - LR * gradient(start[0], *RETAIN))
    # two forget and two retain samples to find the weights, and two to fine-tune
    assert (method.meter.forward, method.meter.backward) == (6, 6)
    assert method.access == {"forget": "inputs and labels", "retain": "inputs and labels"}


def convolutional(kernel: list[list[float]]) -> Tiny:
    """A 2 x 2 kernel on an image of one pixel, padded: four values, of which a wide kernel makes logits."""
    tiny = Tiny()
    square, wide, head = nn.Conv2d(1, 1, 2, padding=1, bias=False), nn.Conv2d(1, 1, (1, 2), bias=False), nn.Linear(2, 2)
    tiny.model = nn.Sequential(square, wide, nn.Flatten(), head)
    with torch.no_grad():
        square.weight.copy_(torch.tensor(kernel))
        wide.weight.copy_(torch.tensor([[0.5, -1.0]]))
        head.weight.copy_(torch.tensor([[0.3, -0.2], [0.1, 0.4]]))
        head.bias.zero_()
    return tiny


def test_conv_transpose_is_fine_tuning_from_transposed_kernels() -> None:
    transposed, by_hand = convolutional([[1.0, 2.0], [3.0, 4.0]]), convolutional([[1.0, 3.0], [2.0, 4.0]])
    transposed.fit(ConvTranspose(transposed.model, optimizer=SGD))
    by_hand.fit(FineTune(by_hand.model, SGD))
    for found, expected in zip(transposed.model.parameters(), by_hand.model.parameters(), strict=True):
        torch.testing.assert_close(found, expected)
    assert not torch.equal(transposed.model[0].weight[0, 0], torch.tensor([[1.0, 3.0], [2.0, 4.0]]))


class Hold(Holder):
    """Holds the weights that it is told to, numbered over all parameters, where they are."""

    def __init__(self, *numbers: int) -> None:
        super().__init__()
        self.numbers = list(numbers)

    def prepare(self, method: Steps) -> None:
        self.values = weights_of(method.model)
        self.frozen = torch.zeros_like(self.values, dtype=torch.bool)
        self.frozen[self.numbers] = True


def test_msg_disturbs_a_share_of_the_weights_that_are_free() -> None:
    # Class 2, with A = 0, is held. Of the others |g_r| is alike and |g_f| = mean p x, so that of class 1 is the least.
    tiny = ThreeClasses()
    tiny.fit(MSG(tiny.model, optimizer=STILL, share=1 / 3, addons=[Hold(2)]))
    assert tiny.weight[[0, 2]].tolist() == [0.5, -9000]
    assert tiny.weight[1] != -1
    all_held = ThreeClasses()
    all_held.fit(MSG(all_held.model, optimizer=STILL, addons=[Hold(0, 1, 2)]))
    assert all_held.weight.tolist() == [0.5, -1, -9000]


def test_conv_transpose_swaps_the_pairs_that_are_free() -> None:
    tiny = Tiny()
    tiny.model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, bias=False), nn.Flatten(), nn.Linear(1, 2))
    kernel = tiny.model[0].weight
    with torch.no_grad():
        kernel.copy_(torch.arange(9.0).view(1, 1, 3, 3))
    tiny.fit(ConvTranspose(tiny.model, optimizer=STILL, addons=[Hold(1)]))
    assert kernel.tolist() == [[[[0, 1, 6], [3, 4, 7], [2, 5, 8]]]]


@pytest.mark.parametrize("kind", [MSG, ConvTranspose])
def test_what_saliency_froze_is_never_disturbed(kind: type[FineTune]) -> None:
    tiny = convolutional([[1.0, 2.0], [3.0, 4.0]])
    before, saliency, seen = weights_of(tiny.model), Saliency(keep=0.5), []
    momentum = functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.1)
    method = kind(tiny.model, optimizer=momentum, epochs=3, addons=[saliency])
    method.on_train_epoch_start = lambda: seen.append(weights_of(tiny.model))
    tiny.fit(method)
    assert saliency.frozen.sum() == 6  # of twelve
    for weights in (*seen, weights_of(tiny.model)):
        assert torch.equal(weights[saliency.frozen], before[saliency.frozen])
    assert (weights_of(tiny.model) != before).sum() == 6


def test_conv_transpose_needs_square_kernels(tiny: Tiny) -> None:
    for model in (tiny.model, nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, (1, 3)))):
        with pytest.raises(UserError) as raised:
            ConvTranspose(model)
        assert (raised.value.key, raised.value.kind) == ("model", "conflict")


def test_rl_proximal_moves_nothing_that_a_step_holds(tiny: Tiny) -> None:
    class Alternate(Hold):
        """Holds one weight in each step, in turns."""

        def combine(self, method: Steps, combined: torch.Tensor, gradients: Gradients) -> torch.Tensor:
            return combined

        def before_step(self, method: Steps) -> None:
            self.values = weights_of(method.model)
            self.frozen = torch.arange(2) == len(steps) % 2
            super().before_step(method)

    hold, steps = Alternate(), []

    class Proximal(RLProximal):
        def after_step(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
            super().after_step(optimizer)
            steps.append(torch.equal(weights_of(self.model)[hold.frozen], hold.values[hold.frozen]))

    tiny.fit(Proximal(tiny.model, optimizer=SGD, epochs=4, sparsity=0.1, addons=[hold]))
    assert len(steps) > 2
    assert all(steps)


@pytest.mark.parametrize(
    ("kind", "option", "wrong"),
    [(RLProximal, "sparsity", -1.0), (MSG, "share", 0.0), (MSG, "share", 1.5), (ScrubJoint, "temperature", 0.0)],
)
def test_options_out_of_bounds_are_refused(kind: type, option: str, wrong: float) -> None:
    with pytest.raises(UserError) as raised:
        check_options(kind, **{option: wrong})
    assert (raised.value.key, raised.value.kind) == (f"method.{option}", "value")


# Digits


@pytest.mark.parametrize(
    "method",
    [
        "random_label",
        "scrub_joint",
        *(pytest.param(m, marks=pytest.mark.slow) for m in ("rl_proximal", "msg", "conv_transpose")),
    ],
)
def test_forgets_a_digit_and_keeps_the_others(method: str, places: list[str]) -> None:
    found = rows(places, f"method={method}")
    retrained, unlearned = found["retrained"], found["unlearned"]
    assert found["original"]["forget/acc"] == 1
    for part in ("forget", "test_forget"):
        assert unlearned[f"{part}/acc"] <= retrained[f"{part}/acc"] + 0.05
    assert unlearned["retain/acc"] >= retrained["retain/acc"] - 0.02
    assert unlearned["test_retain/acc"] >= retrained["test_retain/acc"] - 0.04
