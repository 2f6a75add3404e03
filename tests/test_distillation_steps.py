"""Bad teacher and amnesiac unlearning by hand; see ``by_hand``."""

from types import SimpleNamespace

import numpy as np
import pytest
from torch import nn

from tests.by_hand import FORGET, LR, RETAIN, SGD, W, check_options, close, fresh_weight, gradient, probabilities
from tests.conftest import Tiny
from unlearning.errors import UserError
from unlearning.methods.amnesiac import Amnesiac
from unlearning.methods.bad_teacher import BadTeacher


def test_bad_teacher_moves_forget_samples_towards_a_random_network(tiny: Tiny) -> None:
    fresh = fresh_weight(tiny, seed=5)
    tiny.fit(BadTeacher(tiny.model, optimizer=SGD, temperature=2.0, retain_share=1.0), seed=5)
    x = FORGET[0]
    # d/dw T^2 KL(t || softmax(w x / T)) = T (softmax(w x / T) - t) x; 0 on retain data, where t is the student
    towards = 2.0 * (probabilities(W, x, 2.0) - probabilities(fresh, x, 2.0)) * x[:, None]
    close(tiny, W - LR * towards.sum(0) / 4)


def test_bad_teacher_divides_by_the_classes_where_the_mean_is_over_elements(tiny: Tiny) -> None:
    fresh = fresh_weight(tiny, seed=5)
    tiny.fit(BadTeacher(tiny.model, optimizer=SGD, retain_share=1.0, mean_over="elements"), seed=5)
    x = FORGET[0]
    towards = (probabilities(W, x) - probabilities(fresh, x)) * x[:, None]
    close(tiny, W - LR * towards.sum(0) / (4 * 2))  # 4 samples of 2 classes


def test_the_teachers_are_two_networks_that_differ_and_stay_as_they_were(tiny: Tiny) -> None:
    method = BadTeacher(tiny.model, optimizer=SGD, retain_share=1.0, epochs=3)
    tiny.fit(method, seed=5)
    good, bad = (t.network[1].weight.flatten().numpy() for t in (method.competent, method.incompetent))
    np.testing.assert_array_equal(good, W)
    np.testing.assert_array_equal(bad, fresh_weight(tiny, seed=5))
    assert abs(good - bad).min() > 0.01
    assert abs(tiny.weight.numpy() - good).min() > 1e-3  # the student is a third one


def test_bad_teacher_asks_for_each_sample_its_own_teacher_alone(tiny: Tiny) -> None:
    method = BadTeacher(tiny.model, optimizer=SGD, retain_share=0.5, epochs=2)
    tiny.fit(method)
    # two epochs of 2 forget samples and 1 of 2 retain samples; of the teachers one, and once
    assert (method.meter.forward, method.meter.backward) == (6 + 3, 6)
    assert len(method.incompetent.remembered) == 2
    assert len(method.competent.remembered) == 1


def test_bad_teacher_steps_are_those_of_its_part_of_the_retain_set(tiny: Tiny) -> None:
    method = BadTeacher(tiny.model, optimizer=SGD, retain_share=0.5, batch_size=1)
    tiny.fit(method)
    assert method.steps_per_epoch == len(method.curves["train_loss"]) == 3  # what a schedule is made for


def test_amnesiac_trains_on_wrong_labels(tiny: Tiny) -> None:
    tiny.fit(Amnesiac(tiny.model, optimizer=SGD))
    x = np.concatenate([FORGET[0], RETAIN[0]])
    labels = np.concatenate([1 - FORGET[1], RETAIN[1]])  # the other of two classes
    close(tiny, W - LR * gradient(W, x, labels))


def test_amnesiac_labels_are_wrong_stable_and_even(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Amnesiac, "task", SimpleNamespace(num_classes=5, forget_classes=(3,)))
    method = Amnesiac(nn.Identity())
    method.seed = 7
    drawn = [method.wrong_label(i, 1) for i in range(3000)]
    counts = np.bincount(drawn, minlength=5)
    assert counts[1] == counts[3] == 0
    assert (abs(counts[[0, 2, 4]] - 1000) < 4 * np.sqrt(3000 * 2 / 9)).all()  # four standard deviations
    assert drawn == [method.wrong_label(i, 1) for i in range(3000)]
    method.seed = 8
    assert drawn != [method.wrong_label(i, 1) for i in range(3000)]


@pytest.mark.parametrize(("option", "wrong"), [("temperature", 0.0), ("retain_share", 0.0), ("retain_share", 1.5)])
def test_options_out_of_bounds_are_refused(option: str, wrong: float) -> None:
    with pytest.raises(UserError) as raised:
        check_options(BadTeacher, **{option: wrong})
    assert (raised.value.key, raised.value.kind) == (f"method.{option}", "value")
