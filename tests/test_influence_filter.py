"""Influences by hand for softmax regression, and what is dropped."""

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from tests.conftest import Tiny
from unlearning.data.datamodule import UnlearningData
from unlearning.errors import UserError
from unlearning.methods.influence_filter import InfluenceFilter
from unlearning.sample_gradients import directional_derivatives

X, LABELS = (0.2, 1.0, 0.4, 0.8), (0, 1, 0, 1)


def made(tiny: Tiny, **options: object) -> InfluenceFilter:
    options = {"optimizer": lambda p: torch.optim.SGD(p, 0.1), "batch_size": 2} | options
    return InfluenceFilter(tiny.model, **options)


def looking(method: InfluenceFilter, tiny: Tiny) -> None:
    """Give it its looks without a trainer."""
    data = UnlearningData(tiny.data, tiny.split, tiny.task())
    method.look = lambda stream: data.batches(stream, torch.device("cpu"))


def test_influences_are_those_of_the_formula(tiny: Tiny) -> None:
    """Two classes: the gradient by w_1 is ``(p_1 - y) x`` and by w_0 its negative, so every product doubles."""
    method = made(tiny, damping=0.5)
    looking(method, tiny)
    tiny.model.eval()
    p = [1 / (1 + torch.tensor(1.5 * x).exp().item()) for x in X]  # w = (.5, -1)
    g = [(p_i - y) * x for p_i, y, x in zip(p, LABELS, X, strict=True)]
    squares = sum(g_i**2 for g_i in g) / 4  # the same for both weights, so it is their mean, too
    forget = (g[0] + g[1]) / 2
    expected = [2 * forget * g_i / (1.5 * squares) for g_i in g]
    direction = method.direction()
    found = torch.cat(
        [directional_derivatives(tiny.model, b, direction) for s in ("forget", "retain") for b in method.look(s)]
    )
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("threshold", "dropped"), [(1.6, [3]), (1.7, [])])
def test_what_is_like_the_forget_set_is_dropped_and_not_trained_on(tiny: Tiny, threshold: float, dropped: list) -> None:
    """g = (.085, -.82, .14, -.61): sample 3 pulls as the forget set does (-.37), 1.68 times as much, and 2 does not."""
    method, seen = made(tiny, threshold=threshold, epochs=2), []
    method.model.register_forward_pre_hook(lambda _, images: seen.append(sorted(images[0].flatten().tolist())))
    tiny.fit(method)
    assert method.left_out.tolist() == dropped
    assert method.curves["dropped"][0].item() == len(dropped)
    kept = pytest.approx([X[i] for i in (2, 3) if i not in dropped])
    assert seen[-2:] == [kept, kept]
    assert len(method.curves["retain_loss"]) == 2
    assert method.access == {"forget": "inputs and labels", "retain": "inputs and labels"}


def test_the_schedule_is_that_of_the_steps_that_are_left(tiny: Tiny) -> None:
    steps: list[int] = []

    def schedule(optimizer: torch.optim.Optimizer, per_epoch: int, epochs: int) -> LRScheduler:
        steps.append(per_epoch)
        return LambdaLR(optimizer, lambda step: 1.0)

    method = made(tiny, threshold=1.6, batch_size=1, epochs=3, schedule=schedule)
    tiny.fit(method)
    assert steps[-1] == 1  # of two samples one is dropped
    assert len(method.curves["retain_loss"]) == 3


@pytest.mark.parametrize("wrong", [{"threshold": 0.0}, {"damping": 0.0}])
def test_senseless_options_are_refused(tiny: Tiny, wrong: dict) -> None:
    with pytest.raises(UserError, match="both must be above 0"):
        made(tiny, **wrong)


def test_a_filter_that_leaves_nothing_is_refused(tiny: Tiny) -> None:
    tiny.data.inputs[2:] = 255  # both retain samples now pull as sample 1 does
    tiny.data.labels[2:] = 1
    with pytest.raises(UserError, match=r"method.threshold=0.5 drops 2 of 2 retain samples: take a larger one"):
        tiny.fit(made(tiny))


def test_it_trains_on_the_retain_set_alone(tiny: Tiny) -> None:
    with pytest.raises(UserError, match=r"method.stream=train: influence_filter trains on the retain set alone"):
        made(tiny, stream="train")
