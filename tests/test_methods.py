"""Every ``conf/method/*.yaml``: it composes, runs two steps with every scenario, and sees only what it declares."""

import copy

import pytest
import torch
from hydra.utils import get_object
from omegaconf import OmegaConf

from tests.conftest import composed, names
from unlearning import build
from unlearning.config import ROOT
from unlearning.data.datamodule import UnlearningData
from unlearning.errors import UserError
from unlearning.methods.base import OneShot
from unlearning.methods.original import Original
from unlearning.types import Batch

SCENARIOS = {
    "class": ["scenario=class", "scenario.classes=[3]"],
    "part of a class": ["scenario=class", "scenario.classes=[3]", "scenario.count=20"],
    "random": ["scenario=random", "scenario.count=50"],
}


class Spy(UnlearningData):
    """Notes what it hands out, after Lightning and the transforms are done with it."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.handed: list[tuple[str, Batch]] = []

    def on_after_batch_transfer(self, batch: object, position: int) -> object:
        batch = super().on_after_batch_transfer(batch, position)
        if isinstance(batch, dict):
            self.handed += [(stream, part) for stream, part in batch.items() if part is not None]
        return batch


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("name", names("method"))
def test_two_steps(name: str, scenario: str, places: list[str]) -> None:
    config, _ = composed(f"method={name}", *SCENARIOS[scenario], *places)
    data = build.dataset(config)
    split = build.split(config, data)
    torch.manual_seed(0)
    network = build.model(config, data)
    before = copy.deepcopy(network.state_dict())
    method = build.method(config, network)
    if method.needs_forget_classes and not split.forget_classes:
        pytest.skip(f"{name} serves requests to forget whole classes alone")
    spy = Spy(data, split, build.task(config, data, split))
    trainer = build.trainer({"trainer": config["trainer"] | {"limit_train_batches": 2}}, method.passes, [])
    trainer.fit(method, datamodule=spy)
    if isinstance(method, OneShot):
        method.look = lambda stream: spy.batches_for(method, stream)
        with torch.no_grad():
            method.edit()

    after = method.model.state_dict()
    assert all(tensor.isfinite().all() for tensor in after.values() if tensor.is_floating_point())
    changed = any(not torch.equal(tensor, after[key]) for key, tensor in before.items())
    assert changed != isinstance(method, Original)
    allowed = {stream: set(spy.stream(stream).tolist()) for stream in ("forget", "retain", "train")}
    for stream, batch in spy.handed:
        assert set(batch.ids.tolist()) <= allowed[stream]
        assert (batch.labels is not None) == method.sees_labels
        assert torch.equal(batch.forget, torch.isin(batch.ids, split.forget))


def takes_no_steps(name: str) -> bool:
    """Whether a method is one-shot or the identity."""
    target = OmegaConf.load(ROOT / "conf" / "method" / f"{name}.yaml")._target_
    return issubclass(get_object(target), OneShot | Original)


@pytest.mark.parametrize("addons", ["l1", "saliency", "saliency,l1"])
@pytest.mark.parametrize("name", [name for name in names("method") if not takes_no_steps(name)])
def test_addons_work_with_every_first_order_method(name: str, addons: str, places: list[str]) -> None:
    config, _ = composed(f"method={name}", f"addon=[{addons}]", *places)
    data = build.dataset(config)
    split = build.split(config, data)
    torch.manual_seed(0)
    method = build.method(config, build.model(config, data))
    trainer = build.trainer({"trainer": config["trainer"] | {"limit_train_batches": 2}}, method.passes, [])
    start = [p.detach().clone() for p in method.model.parameters()]
    trainer.fit(method, datamodule=UnlearningData(data, split, build.task(config, data, split)))
    still = [p.isfinite().all() and p.numel() for p in method.model.parameters()]
    assert all(still)
    if "saliency" in addons and name not in ("retrain", "gkt"):  # these begin by replacing the weights
        weights = zip(start, method.model.parameters(), strict=True)
        kept = sum(int((a == b).sum()) for a, b in weights)
        assert kept >= 0.5 * sum(p.numel() for p in start) - 1


def test_addons_are_refused_by_a_method_that_takes_no_steps(places: list[str]) -> None:
    config, _ = composed("method=ssd", "addon=[l1]", *places)
    data = build.dataset(config)
    with pytest.raises(UserError, match="takes no steps"):
        build.method(config, build.model(config, data))


def test_a_look_at_what_is_not_declared_is_refused(places: list[str]) -> None:
    config, _ = composed("method=jit", *places)
    data = build.dataset(config)
    split = build.split(config, data)
    method = build.method(config, build.model(config, data))
    with pytest.raises(ValueError, match="declares the streams"):
        next(UnlearningData(data, split, build.task(config, data, split)).batches_for(method, "retain"))
