"""Penultimate features: how the head is found, and that they come with the logits, of the same pass and bit by bit."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import Tiny, composed, compute, tiny_vit
from unlearning.engine.features import predict_with_features
from unlearning.engine.job import Job
from unlearning.engine.predict import predict
from unlearning.errors import UserError
from unlearning.metrics.base import Evidence, Metric
from unlearning.metrics.features import Features, looked_at
from unlearning.models.head import WithFeatures, head_of
from unlearning.models.small_cnn import SmallCNN


class HeadFirst(nn.Module):
    """A network that registers its head before its body, and a layer that it never calls last."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.body, self.unused = nn.Linear(3, 2), nn.Linear(4, 3), nn.Linear(9, 9)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x).relu())
        return logits


def test_the_head_is_the_layer_that_is_called_last() -> None:
    network, x = HeadFirst(), torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    assert head_of(network, x) is network.head
    found = WithFeatures(network, x)(x)
    assert torch.equal(found, torch.cat([network(x), network.body(x).relu()], 1))
    assert not any(layer._forward_pre_hooks for layer in network.modules())


def test_the_features_of_maps_are_means_over_positions() -> None:
    images = torch.rand(6, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    network = nn.Sequential(nn.Conv2d(2, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    torch.testing.assert_close(WithFeatures(network, images)(images)[:, 3:], images.mean((2, 3)))
    vit = tiny_vit()
    assert WithFeatures(vit, torch.zeros(1, 1, 16, 16).double()).outputs == 4 + 8


def test_a_network_without_a_head_is_told() -> None:
    network = nn.Sequential(nn.Flatten(), nn.ReLU())
    assert head_of(network, torch.zeros(2, 3)) is None
    with pytest.raises(UserError) as refused:
        WithFeatures(network, torch.zeros(2, 3))
    assert refused.value.key == "evaluation"


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_logits_are_those_of_a_pass_without_features(precision: str) -> None:
    job = Job.of(composed("tracking=none", "paths.root=/tmp", "retrained=false")[0])
    settings = compute(precision=precision)
    torch.manual_seed(0)
    network = SmallCNN((1, 8, 8), 10)
    passed: list[int] = []
    network.register_forward_pre_hook(lambda _, inputs: passed.append(len(inputs[0])))
    ids = torch.arange(1, 1797, 3)
    logits, found = predict_with_features(network, job.problem, settings, ids)
    features = found.values
    assert sum(passed) == 1797 + 2  # each sample once; with one the head is found and its width measured
    assert torch.equal(logits, predict(network, job.problem, settings))
    assert features.shape == (599, 64)
    assert found.ids is ids
    assert features.dtype == torch.float32
    if precision == "32-true":
        head = network[-1]
        torch.testing.assert_close(features @ head.weight.T + head.bias, logits[ids], rtol=1e-4, atol=1e-4)


class Width(Metric):
    """How many features there are, of this model and of the references."""

    directions = {"width/*": "up"}
    needs = ("features",)

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        named = {"own": evidence.features, "original": evidence.original_features}
        return {f"width/{name}": float(found.values.shape[1]) for name, found in named.items() if found is not None}


def test_only_metrics_that_ask_for_features_have_them_predicted(places: list[str], tmp_path: Path) -> None:
    """The predictions without features keep their entry of the store; those with features have one of their own."""
    words = ["method=original", "pretrain.epochs=1", "tracking=none", *places, f"paths.store={tmp_path}/store"]
    job = Job.of(composed(*words)[0])
    original = job.lab.train(job.problem, job.recipe, job.problem.split.train, 0, "original")
    asking = replace(job, metrics={"width": Width()})

    def kept() -> set[str]:
        return {file.name for file in (tmp_path / "store/predictions").glob("[!.]*")}

    without = job.model(original)
    (entry,) = kept()
    with_features = asking.model(original)
    assert len(kept()) == 2
    again = job.model(original)
    assert len(kept()) == 2
    assert entry in kept()
    assert without.features is again.features is None
    assert with_features.features is not None
    assert len(with_features.features.values) == len(looked_at(job.problem.split)) < 1797  # what metrics look at
    assert torch.equal(without.logits, with_features.logits)
    assert not job.needs("features")
    assert asking.needs("features")


def test_a_limited_number_of_each_set_is_looked_at() -> None:
    none = torch.arange(0)
    sets = {"forget": torch.arange(100), "retain": torch.arange(100, 130), "test_forget": none, "test_retain": none}
    split = replace(Tiny().split, **sets)
    ids = looked_at(split, limit=40)
    assert torch.equal(ids, ids.unique())
    assert int((ids < 100).sum()) == 40
    assert torch.equal(ids[ids >= 100], torch.arange(100, 130))
    assert torch.equal(ids, looked_at(split, limit=40))
    values = torch.arange(float(len(ids))).unsqueeze(1)
    features = Features(ids, values)
    asked = torch.tensor([129, 3, 110, 7])
    assert torch.equal(features.among(asked), asked[torch.isin(asked, ids)])
    assert features.of(torch.tensor([129, 100])).flatten().tolist() == [len(ids) - 1, len(ids) - 30]
