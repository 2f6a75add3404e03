"""Outputs of every block in the pass of the logits, layer-wise CKA, transfer to other data, and the audit's numbers."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import composed, compute, tiny_swin, tiny_vit
from tests.predictions import ids, ten_samples
from unlearning.data.datasets import Dataset
from unlearning.data.digits import digits
from unlearning.data.transform import Transform
from unlearning.engine.features import predict_with_features
from unlearning.engine.job import Job
from unlearning.metrics.audit import Audit
from unlearning.metrics.base import evaluate
from unlearning.metrics.features import Features
from unlearning.metrics.representation import OriginalLayerCKA, RetrainedLayerCKA, linear_cka
from unlearning.metrics.transfer import Transfer, fitted
from unlearning.models.base import conv_norm
from unlearning.models.head import WithFeatures, layers_of
from unlearning.models.small_cnn import SmallCNN
from unlearning.records.layers_figure import layers_figure, similarities


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_layers_are_the_ends_of_the_blocks() -> None:
    network = nn.Sequential(conv_norm(1, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2)).eval()
    assert list(layers_of(network)) == ["0.1", "3"]  # the normalisation after the convolution, and the head
    images = normal(5, 1, 4, 4)
    both = WithFeatures(network, images[:1], layers=True)
    found = both(images)
    assert both.widths == {"0.1": 3, "3": 2}
    maps, logits = network[0](images), network(images)
    expected = torch.cat([logits, maps.relu().flatten(1), maps.mean((2, 3)), logits], 1)
    torch.testing.assert_close(found, expected)
    assert not any(layer._forward_hooks for layer in network.modules())
    assert WithFeatures(network, images[:1]).outputs == 2 + 48  # no layer unless asked


@pytest.mark.slow
@pytest.mark.parametrize(("make", "widths"), [(tiny_vit, [8]), (tiny_swin, [8, 8, 16, 4])])
def test_the_channels_of_a_transformer_stay(make: Callable[[], nn.Module], widths: list[int]) -> None:
    both = WithFeatures(make(), torch.zeros(1, 1, 16, 16).double(), layers=True)
    assert list(both.widths.values()) == widths


def test_layers_come_with_the_logits_in_one_pass() -> None:
    job = Job.of(composed("tracking=none", "paths.root=/tmp", "retrained=false")[0])
    torch.manual_seed(0)
    network, asked = SmallCNN((1, 8, 8), 10), torch.arange(0, 1797, 100)
    passed: list[int] = []
    network.register_forward_pre_hook(lambda _, inputs: passed.append(len(inputs[0])))
    logits, found = predict_with_features(network, job.problem, compute(), asked, layers=True)
    assert sum(passed) == 1797 + 2
    assert list(found.layers) == list(layers_of(network))
    *_, last = found.layers.values()
    assert torch.equal(last, logits[asked])
    assert found.values.shape == (len(asked), 64)
    assert torch.equal(found.of_layer(list(found.layers)[-1], asked[3:5]), logits[asked[3:5]].double())


def test_a_changed_head_shows_in_the_last_block_alone() -> None:
    rows = torch.arange(10)
    blocks = {"conv": normal(10, 4), "head": normal(10, 3, seed=1)}
    before = Features(rows, blocks["conv"], blocks)
    after = replace(before, layers=blocks | {"head": normal(10, 3, seed=2)})
    other = Features(rows, normal(10, 4, seed=5), {"conv": normal(10, 4, seed=5), "head": normal(10, 3, seed=6)})
    evidence = replace(ten_samples(), features=after, original_features=before, retrained_features=other)
    found = OriginalLayerCKA()(evidence)
    forget, retain = ids(2, 5), ids(0, 1, 3, 4)
    assert found["layer_cka/original_forget/conv"] == found["layer_cka/original_retain/conv"] == pytest.approx(1)
    expected = linear_cka(after.of_layer("head", retain), before.of_layer("head", retain))
    assert found["layer_cka/original_retain/head"] == pytest.approx(expected) != 1
    theirs = RetrainedLayerCKA()(evidence)
    expected = linear_cka(after.of_layer("conv", forget), other.of_layer("conv", forget))
    assert theirs["layer_cka/retrained_forget/conv"] == pytest.approx(expected)
    without = replace(evidence, features=Features(rows, blocks["conv"]))
    assert evaluate({"layers": OriginalLayerCKA(), "theirs": RetrainedLayerCKA()}, without) == ({}, {})
    assert layers_figure({"unlearned": without, "original": without}) is None
    shown = {"unlearned": evidence, "original": replace(evidence, features=before)}
    figure = layers_figure(shown)
    assert figure is not None
    forgetting, retaining = (axes.images[0].get_array() for axes in figure.axes if axes.images and axes.get_title())
    assert forgetting.shape == (2, 2)
    assert retaining[0, 0] == pytest.approx(1)
    assert retaining[1, 1] == pytest.approx(found["layer_cka/original_retain/head"], abs=1e-6)
    assert similarities(after, before, retain)[1, 0].item() == pytest.approx(
        linear_cka(after.of_layer("head", retain), before.of_layer("conv", retain)), abs=1e-6
    )


# Transfer


class Pixels(nn.Module):
    """A network whose features are the pixels."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.head = nn.Linear(count, 3)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(images.flatten(1))
        return logits


def test_features_that_keep_the_pixels_serve_the_digits_and_constant_ones_do_not() -> None:
    evidence = replace(ten_samples(), model=Pixels(64), images=lambda ids: torch.zeros(len(ids), 1, 8, 8))
    metric = Transfer(digits(seed=0), limit=300)
    assert metric(evidence)["transfer/knn"] > 0.85  # as nearest neighbours of pixels have
    none = replace(evidence, model=nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.ReLU(), nn.Linear(4, 3)))
    with torch.no_grad():
        none.model[1].weight.zero_()  # type: ignore[index, union-attr]
    assert metric(none)["transfer/knn"] < 0.25


def test_a_models_own_data_are_no_other_data_set() -> None:
    data = digits(seed=0)
    transform = Transform(data)
    split = replace(ten_samples().split, forget=data.train[:40], retain=data.train[40:400])
    labels = replace(ten_samples(), logits=torch.zeros(len(data.labels), 3), labels=data.labels % 3, split=split)
    evidence = replace(labels, model=Pixels(64), images=lambda ids: transform(data.inputs[ids], ids=ids))
    with pytest.raises(ValueError, match=r"400 samples of digits are among .* evaluation\.transfer\.data"):
        Transfer(data, limit=2000)(evidence)
    mixed = replace(evidence, images=lambda ids: transform(data.inputs[ids], ids=ids) + 1)
    assert "transfer/knn" in Transfer(data, limit=2000)(mixed)


def test_images_are_brought_to_the_shape_that_a_network_takes() -> None:
    grey, colour = torch.full((2, 1, 4, 4), 3.0), torch.ones(2, 3, 4, 4) * torch.tensor([0.0, 3.0, 6.0]).view(3, 1, 1)
    assert torch.equal(fitted(grey, torch.zeros(1, 3, 8, 8)), torch.full((2, 3, 8, 8), 3.0))
    assert torch.equal(fitted(colour, torch.zeros(1, 1, 4, 4)), torch.full((2, 1, 4, 4), 3.0))
    with pytest.raises(ValueError, match="cannot be brought"):
        fitted(grey, torch.zeros(1, 8))


# The audit


def test_the_audits_numbers_by_hand() -> None:
    row = {"forget/acc": 0.1, "retain/acc": 1.0, "test/acc": 0.8, "mia/loss_auc": 0.5, "probe/knn_forget": 0.9}
    row |= {"cka/retrained_forget": 0.2, "cka/retrained_retain": 0.4}
    retrained = row | {"forget/acc": 0.0, "test/acc": 0.9, "probe/knn_forget": 0.6}
    found = Audit().relative(row, retrained)
    assert found["audit/output"] == pytest.approx((0.9 + 1 + 0.9 + 1) / 4)
    assert found["audit/representation"] == pytest.approx((0.7 + 0.2 + 0.4) / 3)
    assert found["audit/summary"] == pytest.approx(2 / (1 / 0.95 + 3 / 1.3))
    beyond = Audit().relative(row | {"cka/retrained_forget": -0.2, "cka/retrained_retain": 1.1}, retrained)
    assert beyond["audit/representation"] == pytest.approx((0.7 + 0 + 1) / 3)
    more = Audit().relative(row | {"transfer/knn": 0.5}, retrained | {"transfer/knn": 0.7})
    assert more["audit/representation"] == pytest.approx((0.7 + 0.8 + 0.2 + 0.4) / 4)
    assert Audit().relative({k: v for k, v in row.items() if k != "cka/retrained_forget"}, retrained) == {}


def test_a_data_set_of_ones_own_composes() -> None:
    job = Job.of(composed("evaluation=layers", "evaluation.transfer.limit=5", "tracking=none", "paths.root=/tmp")[0])
    transfer = job.metrics["transfer"]
    assert isinstance(transfer, Transfer)
    assert isinstance(transfer.data, Dataset)
    assert job.needs("layers")
