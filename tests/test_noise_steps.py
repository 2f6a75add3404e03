"""Methods that train on learned noise, UNSIR and EMMN, by hand; see ``by_hand``."""

import functools

import numpy as np
import pytest
import torch
from torch import nn

from tests.by_hand import LR, RETAIN, SGD, W, check_options, close, forgets_class_0, gradient, probabilities
from tests.conftest import Tiny, composed, compute
from unlearning.engine.fitting import fit
from unlearning.engine.job import Job
from unlearning.errors import UserError
from unlearning.methods.emmn import EMMN
from unlearning.methods.from_noise import learned_noise
from unlearning.methods.unsir import UNSIR


@pytest.mark.parametrize("maximise", [True, False])
def test_noise_steps_up_or_down_the_error(tiny: Tiny, maximise: bool) -> None:
    labels = torch.zeros(3, dtype=torch.long)
    torch.manual_seed(2)
    start = torch.randn(3, 1, 1, 1).flatten().numpy()
    torch.manual_seed(2)
    noise = learned_noise(tiny.model, labels, (1, 1, 1), steps=1, maximise=maximise, rate=0.1)
    # dCE/dx = sum_c (p_c - y_c) w_c; both terms are means over 3; the first step of Adam is the rate times the sign
    error = (probabilities(W, start) - [1, 0]) @ W
    slope = (-error if maximise else error) + 0.2 * start
    assert abs(slope).min() > 1e-2
    np.testing.assert_allclose(noise.flatten().numpy(), start - 0.1 * np.sign(slope), rtol=1e-4, atol=1e-6)


def test_noise_settles_where_error_and_size_balance(tiny: Tiny) -> None:
    noise = learned_noise(tiny.model, torch.tensor([0]), (1, 1, 1), steps=1000, maximise=False, rate=0.01)
    x = noise.flatten().numpy()
    assert ((probabilities(W, x) - [1, 0]) @ W + 0.2 * x).item() == pytest.approx(0, abs=1e-4)


def test_unsir_impairs_with_noise_and_repairs_without(tiny: Tiny) -> None:
    momentum = functools.partial(torch.optim.SGD, lr=LR, momentum=0.9)
    options = {"noise_images": 2, "noise_steps": 3, "copies": 1, "samples_per_class": 2, "batch_size": 4}
    method = UNSIR(tiny.model, optimizer=momentum, **options)
    forgets_class_0(tiny).fit(method)
    noise = method.noise.flatten().numpy()
    impaired = W - LR * gradient(W, np.append(RETAIN[0], noise), np.append(RETAIN[1], [0, 0]))
    repaired = impaired - LR * gradient(impaired, RETAIN[0], RETAIN[1])  # without the momentum of impairing
    close(tiny, repaired, rtol=1e-4)
    # noise: 3 steps of 2; impair: 2 + 2; repair: 2
    assert (method.meter.forward, method.meter.backward) == (12, 12)
    assert "cost/seconds_noise" in method.meter.metrics()


def batches_of_unsir(tiny: Tiny, **options: int) -> tuple[UNSIR, list[list[float]]]:
    """A finished run, and the images of its last batches: those of impairing and repairing."""
    method = UNSIR(tiny.model, optimizer=SGD, noise_steps=2, copies=1, batch_size=4, **options)
    seen = []
    method.model.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].flatten().tolist()))
    forgets_class_0(tiny).fit(method)
    return method, seen[2:]


def test_unsir_takes_as_many_samples_as_it_is_told(tiny: Tiny) -> None:
    # 1 retained class times 1 sample is half of the retain set; noise is 3 of 3 + 1, so 3 of a batch of 4
    method, (impair, repair) = batches_of_unsir(tiny, noise_images=3, samples_per_class=1)
    assert impair[:1] == repair  # the same retain sample in both phases
    assert sorted(impair[1:]) == sorted(method.noise.flatten().tolist())


def test_unsir_shows_every_copy_of_the_noise_once(tiny: Tiny) -> None:
    # noise is 5 of 5 + 2, so 1 retain sample of a batch of 4 (1.14 rounded): two steps, with the 5 images 2 and 3
    method, (first, second, repair) = batches_of_unsir(tiny, noise_images=5, samples_per_class=2)
    noise = method.noise.flatten().tolist()
    assert (first[1:], second[1:]) == (noise[:2], noise[2:])
    assert len(repair) == 2


@pytest.mark.parametrize(
    ("noise", "normalised", "refused"),
    [(1, True, True), (2, True, False), (1, False, False)],  # a pass has two retain samples, one in each batch
)
def test_unsir_counts_its_noise_before_it_refuses_a_batch_of_one(
    tiny: Tiny, noise: int, normalised: bool, refused: bool
) -> None:
    tiny.model = nn.Sequential(*tiny.model, nn.BatchNorm1d(2) if normalised else nn.Identity())
    options = {"noise_images": noise, "copies": 1, "noise_steps": 1, "batch_size": 2}
    method = UNSIR(tiny.model, optimizer=SGD, **options)
    if refused:
        with pytest.raises(UserError) as raised:
            forgets_class_0(tiny).fit(method)
        assert raised.value.key == "method.batch_size"
    else:
        forgets_class_0(tiny).fit(method)
        assert len(method.curves["retain_loss"]) == 2 + 1  # of impairing and repairing


def test_unsir_takes_the_super_class_of_a_fine_class_for_its_noise() -> None:
    fast = ("method.copies=1", "method.noise_steps=2")
    job = Job.of(composed("method=unsir", "scenario=subclass", "scenario.classes=[zero,seven]", *fast)[0])
    split, data = job.problem.split, job.problem.data
    assert [data.classes[n] for n in split.named_classes] == ["looped", "straight"]
    assert split.forget_classes == ()  # neither is forgotten whole
    method = job.checked()
    fit(method, job.problem, compute(steps=1), seed=0)
    assert method.noise_labels.tolist() == [data.class_number("looped"), data.class_number("straight")] * 32


def test_unsir_needs_a_class_that_the_request_names(tiny: Tiny) -> None:
    with pytest.raises(UserError) as raised:
        UNSIR(tiny.model, optimizer=SGD).check(tiny.problem.task)
    assert (raised.value.key, raised.value.kind) == ("scenario", "conflict")


def test_unsir_refuses_a_number_of_epochs_besides_its_own() -> None:
    with pytest.raises(UserError) as raised:
        check_options(UNSIR, epochs=3)
    assert (raised.value.key, raised.value.kind) == ("method.epochs", "key")


def test_emmn_descends_on_noise_alone(tiny: Tiny) -> None:
    method = EMMN(tiny.model, optimizer=SGD, noise_images=3, copies=1, batch_size=6, maximise_steps=20)
    seen, train_loss = [], method.train_loss
    method.train_loss = lambda batch: seen.append(batch) or train_loss(batch)
    forgets_class_0(tiny).fit(method)
    (batch,) = seen  # 1 copy of 3 images of 2 classes is one batch of 6
    x, labels = batch.images.flatten().numpy(), batch.labels.numpy()
    close(tiny, W - LR * gradient(W, x, labels), rtol=1e-4)
    noise = method.noise.flatten().numpy()
    assert set(x.tolist()) <= set(noise.tolist())
    assert (batch.forget.numpy() == (labels == 0)).all()
    right = probabilities(W, noise)[range(6), [0, 0, 0, 1, 1, 1]]
    assert right[:3].max() < 0.5 < right[3:].min()  # errs on the forgotten class's, not on the other's


LEAST = {
    UNSIR: {
        "noise_images": 1,
        "noise_steps": 1,
        "copies": 1,
        "samples_per_class": 1,
        "impair_epochs": 1,
        "repair_epochs": 0,
        "batch_size": 2,
        "repair_batch_size": 1,
    },
    EMMN: {"noise_images": 1, "maximise_steps": 1, "minimise_steps": 1, "copies": 1},
}


@pytest.mark.parametrize(
    ("kind", "option", "least"), [(kind, option, least) for kind, own in LEAST.items() for option, least in own.items()]
)
def test_options_below_their_least_are_refused(tiny: Tiny, kind: type, option: str, least: int) -> None:
    check_options(kind, **{option: least})
    kind(tiny.model, **{option: least})
    with pytest.raises(UserError) as raised:
        check_options(kind, **{option: least - 1})
    assert (raised.value.key, raised.value.kind) == (f"method.{option}", "value")
