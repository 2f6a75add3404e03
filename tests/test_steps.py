"""One step of the basic methods, derived by hand; see ``by_hand``."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from tests.by_hand import FORGET, LR, RETAIN, SGD, W, check_options, close, fresh_weight, given, gradient, probabilities
from tests.conftest import Tiny, composed
from unlearning.addons.l1 import L1
from unlearning.addons.saliency import Saliency
from unlearning.errors import UserError
from unlearning.methods.finetune import FineTune
from unlearning.methods.gradient_ascent import GradientAscent
from unlearning.methods.neggrad_plus import NegGradPlus
from unlearning.methods.original import Original
from unlearning.methods.retrain import Retrain
from unlearning.methods.scrub import Scrub
from unlearning.schedules import linear, multistep


def test_finetune_descends_on_retain_alone(tiny: Tiny) -> None:
    tiny.fit(FineTune(tiny.model, SGD))
    close(tiny, W - LR * gradient(W, *RETAIN))


def test_gradient_ascent_ascends_on_forget_alone(tiny: Tiny) -> None:
    tiny.fit(GradientAscent(tiny.model, SGD))
    close(tiny, W + LR * gradient(W, *FORGET))


def test_neggrad_plus_weighs_both(tiny: Tiny) -> None:
    tiny.fit(NegGradPlus(tiny.model, SGD, forget_weight=0.2, retain_weight=0.8))
    close(tiny, W - LR * (0.8 * gradient(W, *RETAIN) - 0.2 * gradient(W, *FORGET)))


def test_l1_adds_the_sign_of_each_weight(tiny: Tiny) -> None:
    tiny.fit(FineTune(tiny.model, SGD, addons=[L1(0.3)]))
    close(tiny, W - LR * (gradient(W, *RETAIN) + 0.3 * np.sign(W)))


def test_l1_falls_linearly_and_then_is_free() -> None:
    schedule = L1(weight=0.4, free=2)
    assert [schedule.weight_at(t, 6) for t in range(6)] == pytest.approx([0.4, 0.3, 0.2, 0.1, 0, 0])


def test_saliency_moves_only_the_salient_weight() -> None:
    # With softmax over two classes both weights have the same |gradient|, so a third class with a weight of its own
    # is needed for a mask: class 2 never occurs and, with a very negative weight, hardly matters.
    tiny = Tiny()
    tiny.model[1] = torch.nn.Linear(1, 3, bias=False)
    with torch.no_grad():
        tiny.model[1].weight.copy_(torch.tensor([[0.5], [-1.0], [-9.0]]))
    momentum = functools.partial(torch.optim.SGD, lr=LR, momentum=0.9, weight_decay=0.1)
    tiny.fit(FineTune(tiny.model, momentum, epochs=5, addons=[Saliency(keep=2 / 3)]))
    assert tiny.weight[2] == -9.0
    assert abs(tiny.weight[0] - 0.5) > 1e-3
    assert abs(tiny.weight[1] + 1.0) > 1e-3


def kl(teacher: np.ndarray, student: np.ndarray, x: np.ndarray, temperature: float) -> float:
    t, s = (log_softmax(np.outer(x, w) / temperature, axis=1) for w in (teacher, student))
    return temperature**2 * float((np.exp(t) * (t - s)).sum(1).mean())


def test_scrub_losses_are_divergences_from_a_teacher_that_stays(tiny: Tiny) -> None:
    method = Scrub(tiny.model, optimizer=SGD, alpha=0.5, gamma=2.0, temperature=3.0, msteps=1, epochs=1)
    tiny.fit(method)  # the forget pass starts at the teacher, where the gradient of KL is 0; then a retain pass
    after = W - LR * 2.0 * gradient(W, *RETAIN)
    close(tiny, after)
    assert kl(W, after, FORGET[0], 3.0) > 1e-4  # the teacher shares no weights with the student
    batch = next(method.look("forget"))
    assert method.forget_loss(batch).item() == pytest.approx(-kl(W, after, FORGET[0], 3.0), rel=1e-4)
    batch = next(method.look("retain"))
    x, y = RETAIN
    cross_entropy = -log_softmax(np.outer(x, after), axis=1)[np.arange(2), y].mean()
    expected = 2.0 * cross_entropy + 0.5 * kl(W, after, x, 3.0)
    assert method.retain_loss(batch).item() == pytest.approx(expected, rel=1e-4)


def test_scrub_alternates_and_then_only_retains(tiny: Tiny) -> None:
    method = Scrub(tiny.model, optimizer=SGD, msteps=2, epochs=3)
    seen = []
    method.on_train_batch_start = lambda batch, _: seen.append("".join(batch))
    tiny.fit(method)
    assert seen == ["forget", "retain", "forget", "retain", "retain"]


class Noted(Scrub):
    """Keeps the phase and the rate of each step."""

    def after_step(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        self.__dict__.setdefault("steps", []).append((self.phase.name, optimizer.param_groups[0]["lr"]))


def test_the_schedule_of_scrub_stands_still_in_the_maximising_passes(tiny: Tiny) -> None:
    """One step a pass and a tenth of the rate from the second epoch on: a maximising step at the old rate opens it."""
    schedule = functools.partial(multistep, milestones=[1], gamma=0.1)
    method = Noted(tiny.model, optimizer=SGD, schedule=schedule, msteps=2, epochs=3)
    tiny.fit(method)
    assert method.steps_per_epoch == 1
    first, later = pytest.approx(LR), pytest.approx(0.1 * LR)
    assert method.steps == [
        ("maximise", first),
        ("minimise", first),
        ("maximise", later),
        ("minimise", later),
        ("minimise", later),
    ]


@pytest.mark.parametrize(
    ("forget_until", "expected"),
    [
        (1, "f rr rr rr"),
        (3, "f rr rr rr"),  # the second epoch begins when three steps are taken
        (4, "f rr f rr rr"),
        (7, "f rr f rr f rr"),
        (99, "f rr f rr f rr"),
    ],
)
def test_scrub_maximises_in_epochs_that_begin_before_a_step_of_either_kind(
    tiny: Tiny, forget_until: int, expected: str
) -> None:
    """One forget batch and two retain batches."""
    options = {"msteps": None, "forget_until": forget_until, "batch_size": 1, "forget_batch_size": 2}
    method = Noted(tiny.model, optimizer=SGD, epochs=3, addons=[L1(1e-9)], **options)  # which asks for the passes
    tiny.fit(method)
    steps = "".join({"maximise": "f", "minimise": "r"}[name] for name, _ in method.steps)
    assert steps == expected.replace(" ", "")


def test_the_schedule_goes_on_in_passes_that_open_the_epochs_before_a_step(tiny: Tiny) -> None:
    """In f rr f rr rr the rate rises over half of the eight steps and falls by a line to zero after ten."""
    options = {"msteps": None, "forget_until": 4, "batch_size": 1, "forget_batch_size": 2, "epochs": 3}
    method = Noted(tiny.model, optimizer=SGD, schedule=functools.partial(linear, horizon=1.25, warmup=0.5), **options)
    tiny.fit(method)
    rates = [LR * min(1, (step + 1) / 4) * (1 - step / 10) for step in range(8)]
    assert [rate for _, rate in method.steps] == pytest.approx(rates)


@pytest.mark.parametrize(("known", "maximising"), [(100, 2), (1000, 4), (5000, 20)])
def test_scrub_takes_as_few_maximising_steps_as_the_corrective_benchmark(
    tiny: Tiny, known: int, maximising: int
) -> None:
    """Two forget passes in each case: 45,000 samples in batches of 512 leave 88, 86 and 79 retain steps."""
    node = composed("dataset=cifar10", "model=resnet9", "scenario=poison", "method=scrub")[0]["method"]
    names = ("epochs", "batch_size", "forget_batch_size", "msteps", "forget_until")
    ids = torch.arange(45_000)
    tiny.split = replace(tiny.split, forget=ids[:known], retain=ids[known:])
    tiny.data = replace(tiny.data, labels=ids % 2)
    method = Scrub(tiny.model, **{name: node[name] for name in names})
    data = given(tiny, method)
    steps = [(phase.name, phase.passes * data.steps(phase.feed)) for phase in method.phases()]
    assert sum(count for name, count in steps if name == "maximise") == maximising
    assert sum(count for name, count in steps if name == "minimise") == 11 * -(-(45_000 - known) // 512)


def test_scrub_of_the_corrective_benchmark_ascends_on_the_whole_loss(tiny: Tiny) -> None:
    """At the teacher the divergence has no gradient, and the cross-entropy's is there from the first step on."""
    options = {"gamma": 2.0, "alpha": 0.5, "temperature": 3.0, "epochs": 1, "msteps": 1, "maximise": "loss"}
    method = Scrub(tiny.model, optimizer=SGD, **options)
    tiny.fit(method)
    after = W + LR * 2.0 * gradient(W, *FORGET)
    x, y = RETAIN
    away = 0.5 * 3.0 * ((probabilities(after, x, 3.0) - probabilities(W, x, 3.0)) * x[:, None]).mean(0)
    close(tiny, after - LR * (2.0 * gradient(after, x, y) + away))


def test_original_is_the_identity(tiny: Tiny) -> None:
    method = Original(tiny.model)
    tiny.fit(method)
    close(tiny, W)
    assert method.meter.metrics()["cost/passes"] == 0


def test_retrain_starts_from_new_weights_and_trains_on_retain(tiny: Tiny) -> None:
    fresh = fresh_weight(tiny, seed=5)
    tiny.fit(Retrain(tiny.model, optimizer=SGD), seed=5)
    close(tiny, fresh - LR * gradient(fresh, *RETAIN))


def test_the_meter_counts_sample_passes(tiny: Tiny) -> None:
    method = Scrub(tiny.model, optimizer=SGD, msteps=1, epochs=2)
    tiny.fit(method)
    # student: 1 forget and 2 retain passes of 2 samples, forward and backward; teacher: each sample once
    assert (method.meter.forward, method.meter.backward) == (6 + 4, 6)


def test_full_schedule_is_stepped_after_every_step(tiny: Tiny) -> None:
    schedule = functools.partial(multistep, milestones=[1], gamma=0.1)
    tiny.fit(FineTune(tiny.model, SGD, schedule=schedule, epochs=2))
    first = W - LR * gradient(W, *RETAIN)
    close(tiny, first - 0.1 * LR * gradient(first, *RETAIN))


@pytest.mark.parametrize("together", [1, 2, 3])
def test_a_schedule_is_made_for_the_steps_that_accumulated_batches_make(tiny: Tiny, together: int) -> None:
    """Two batches a pass make two steps or one, and a tenth of the rate begins with the second epoch."""
    seen: list[float] = []

    class Seen(FineTune):
        def after_step(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
            seen.append(optimizer.param_groups[0]["lr"])

    schedule = functools.partial(multistep, milestones=[1], gamma=0.1)
    method = Seen(tiny.model, SGD, schedule=schedule, epochs=2, batch_size=1)
    tiny.fit(method, accumulate_grad_batches=together)
    steps = 2 if together == 1 else 1
    assert seen == pytest.approx([LR] * steps + [0.1 * LR] * steps)


@pytest.mark.parametrize(
    ("kind", "option", "wrong"),
    [
        ("multistep", "gamma", 0.0),
        ("multistep", "warmup_epochs", -1.0),
        ("one_cycle", "max_lr", 0.0),
        ("one_cycle", "pct_start", 1.5),
        ("linear", "horizon", 0.0),
        ("linear", "warmup", -0.1),
        ("linear", "warmup", 1.5),
    ],
)
def test_schedules_that_would_climb_or_stand_still_are_refused(kind: str, option: str, wrong: float) -> None:
    node = {"_target_": f"unlearning.schedules.{kind}", "_partial_": True, option: wrong}
    with pytest.raises(UserError) as raised:
        check_options(FineTune, schedule=node)
    assert (raised.value.key, raised.value.kind) == (f"method.schedule.{option}", "value")


def test_linear_schedule_rises_to_the_full_rate_and_then_falls_by_its_horizon(tiny: Tiny) -> None:
    """Four steps, of which the warm-up takes two: 1/2 and 2/2 of lines that reach zero after five."""
    schedule, rates = functools.partial(linear, horizon=1.25, warmup=0.5), []

    class Noted(FineTune):
        def after_step(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
            rates.append(optimizer.param_groups[0]["lr"])

    tiny.fit(Noted(tiny.model, SGD, schedule=schedule, epochs=4))
    assert rates == pytest.approx([LR * f for f in (0.5 * 1, 1 * 0.8, 0.6, 0.4)])
