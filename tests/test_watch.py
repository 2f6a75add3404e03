"""Evaluation by epoch: what it measures, that it changes nothing, what it costs, and the epoch that a rule keeps."""

import functools
import time
from collections.abc import Callable

import pytest
import torch
from torch import nn

from tests.conftest import composed, compute
from unlearning.config.legend import sights
from unlearning.data.datasets import Dataset
from unlearning.engine.fitting import fit, points
from unlearning.engine.job import Job
from unlearning.engine.watch import Watch, Watcher, check_watch, metric_nodes
from unlearning.errors import UserError
from unlearning.methods.base import Method
from unlearning.methods.boundary_expand import BoundaryExpand
from unlearning.methods.finetune import FineTune
from unlearning.methods.fisher import Fisher
from unlearning.methods.neggrad_plus import NegGradPlus
from unlearning.metrics.base import Evidence
from unlearning.metrics.rules import measured
from unlearning.scenarios.base import Problem, assemble

SGD = functools.partial(torch.optim.SGD, lr=0.3)
STILL = functools.partial(torch.optim.SGD, lr=0.0)


def problem() -> Problem:
    """Sixty points of two classes: 0-11 to be forgotten, 12-39 retained, 40-49 validation, 50-59 test."""
    generator, ids = torch.Generator().manual_seed(0), torch.arange(60)
    labels = ids % 2
    inputs = torch.randn(60, 3, generator=generator) + 0.5 * labels[:, None]
    data = Dataset("points", inputs, labels, ("a", "b"), ids[:40], ids[40:50], ids[50:], (0.0,) * 3, (1.0,) * 3)
    return Problem.of(data, assemble(data, ids[:12], torch.zeros(60, dtype=torch.bool)))


def network() -> nn.Module:
    """With all that depends on the mode or on random draws."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 2))


def fitted(make: Callable[[nn.Module], Method], watch: Watch | None = None) -> tuple[Method, dict[str, float]]:
    method = make(network())
    watcher = None if watch is None else Watcher(watch, problem())
    return method, fit(method, problem(), compute(), 5, watcher=watcher)


def finetune(model: nn.Module, epochs: int = 3, optimizer: object = SGD) -> Method:
    return FineTune(model, optimizer=optimizer, epochs=epochs, batch_size=8)


def numbers(model: nn.Module) -> dict[str, float]:
    asked = problem()
    logits = model(asked.data.inputs).detach()
    return measured(Evidence(logits, asked.data.labels, asked.split, asked.data.classes))


@pytest.mark.parametrize(
    "make",
    [
        finetune,
        lambda model: NegGradPlus(model, optimizer=SGD, epochs=3, batch_size=8),
        lambda model: Fisher(model, alpha=0.1),
        lambda model: BoundaryExpand(model, optimizer=SGD, epochs=3, batch_size=8),
    ],
    ids=["finetune", "neggrad_plus", "fisher", "boundary_expand"],
)
def test_looking_changes_neither_weights_nor_random_streams(make: Callable[[nn.Module], Method]) -> None:
    plain, cost = fitted(make)
    drawn = torch.rand(3)
    watched, more = fitted(make, Watch(1))
    assert torch.equal(torch.rand(3), drawn)
    for name, tensor in plain.model.state_dict().items():
        assert torch.equal(watched.model.state_dict()[name], tensor), name
    assert all(more[name] == cost[name] for name in ("cost/forward", "cost/backward", "cost/passes"))
    looks = len(watched.curves["val_acc"])
    assert more["cost/evaluation_passes"] == looks * (12 + 28 + 10)
    assert watched.curves.keys() - plain.curves.keys() == {"forget_acc", "retain_acc", "val_acc"}


def test_points_are_of_the_epochs_that_were_looked_at() -> None:
    method, _ = fitted(functools.partial(finetune, optimizer=STILL, epochs=3), Watch(2))
    curve = points(torch.stack(method.curves["forget_acc"]))
    assert [epoch for epoch, _ in curve] == [0, 2, 3]  # the last one in any case
    method, _ = fitted(functools.partial(finetune, epochs=4), Watch(1))
    last = {name: points(torch.stack(method.curves[f"{name}_acc"]))[-1][1] for name in ("forget", "retain", "val")}
    expected = numbers(method.model)
    assert last == pytest.approx({name: expected[f"{name}/acc"] for name in last})


def test_an_edit_is_an_epoch() -> None:
    method, _ = fitted(lambda model: Fisher(model, alpha=0.1), Watch(1))
    assert [epoch for epoch, _ in points(torch.stack(method.curves["retain_acc"]))] == [0, 1]


def test_the_epoch_that_is_nearest_to_what_is_expected_is_kept() -> None:
    second, _ = fitted(functools.partial(finetune, epochs=2))
    aim = numbers(second.model)
    expected = {name: aim[name] for name in ("forget/acc", "retain/acc", "val/acc", "val/loss_auc")}
    last, _ = fitted(functools.partial(finetune, epochs=5))
    kept, _ = fitted(functools.partial(finetune, epochs=5), Watch(1, "gap", expected))
    assert numbers(last.model) != aim
    assert torch.stack(kept.curves["kept_epoch"]).tolist() == [2]
    for name, tensor in second.model.state_dict().items():
        assert torch.equal(kept.model.state_dict()[name], tensor), name
    assert points(torch.stack(kept.curves["distance"]))[2] == (2, 0)


def test_of_equal_epochs_the_last_is_kept() -> None:
    expected = {"forget/acc": 0.0, "retain/acc": 1.0, "val/acc": 1.0, "val/loss_auc": 0.5}
    kept, _ = fitted(
        lambda model: FineTune(model, optimizer=STILL, epochs=3, batch_norm="eval"), Watch(1, "gap", expected)
    )
    assert torch.stack(kept.curves["kept_epoch"]).tolist() == [3]


def test_an_output_that_is_removed_in_the_end_is_not_seen_meanwhile() -> None:
    expected = {"forget/acc": 0.0, "retain/acc": 1.0, "val/acc": 1.0, "val/loss_auc": 0.5}
    kept, _ = fitted(lambda model: BoundaryExpand(model, optimizer=SGD, epochs=2), Watch(1, "gap", expected))
    assert len(kept.curves["distance"]) == 3
    assert kept.model.state_dict()["4.weight"].shape == (2, 8)


def test_the_time_that_looking_takes_is_not_the_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(self: Watcher, method: Method) -> dict[str, float]:
        time.sleep(0.2)
        return {"forget/acc": 0.5}

    monkeypatch.setattr(Watcher, "values", slow)
    before = time.perf_counter()
    method, cost = fitted(functools.partial(finetune, epochs=2), Watch(1))
    assert cost["cost/evaluation_seconds"] >= 0.6  # three looks
    assert 0 < cost["cost/seconds"] < time.perf_counter() - before - 0.59
    assert len(method.curves["forget_acc"]) == 3


@pytest.mark.parametrize(
    ("evaluation", "keep", "key"),
    [
        ({"every": 0}, None, "evaluation.every"),
        ({"every": True}, None, "evaluation.every"),
        ({"every": "often"}, None, "evaluation.every"),
        ({"best_by": "best"}, None, "evaluation.best_by"),
        ({"best_by": "gap"}, 0.9, "evaluation.best_by"),
    ],
)
def test_what_cannot_work_is_refused(evaluation: dict[str, object], keep: float | None, key: str) -> None:
    with pytest.raises(UserError) as refused:
        check_watch(evaluation, problem().split, True, keep)
    assert refused.value.key == key


def test_the_choice_of_an_epoch_is_access_to_data() -> None:
    words = ("method=finetune", "evaluation.every=2")
    job = Job.of(composed(*words)[0])
    assert (job.every, job.best_by, job.access) == (2, None, {"retain": "inputs and labels"})
    assert job.watch({}) == Watch(2)
    chosen = Job.of(composed(*words, "evaluation.best_by=no_oracle")[0])
    assert chosen.access == dict.fromkeys(("forget", "retain", "validation"), "inputs and labels")
    oracle = Job.of(composed(*words, "evaluation.best_by=gap")[0]).access
    assert oracle == {**chosen.access, "retrained": "predictions"}
    assert sights(oracle).endswith("retrained model (predictions), validation set (inputs, labels)")
    assert metric_nodes({"every": 1, "best_by": None, "accuracy": {}}) == {"accuracy": {}}
