"""The Python API: any network, any torch data, the settings of the command line, and nothing left behind."""

import copy
import doctest
import logging
import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from hydra.core.global_hydra import GlobalHydra
from scipy.spatial.distance import jensenshannon
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import unlearning
from tests.conftest import composed
from unlearning import UserError, api, evaluate, retrain, train, unlearn
from unlearning.config import settings
from unlearning.data.transform import Transform
from unlearning.engine.job import Job
from unlearning.records.log import SCREEN


@pytest.fixture(scope="module")
def blobs() -> dict[str, tuple[Tensor, Tensor]]:
    """Three well separated classes of points in the plane; class 2 is to be forgotten."""
    generator = torch.Generator().manual_seed(0)
    centres, labels = torch.tensor([[0.0, 3.0], [3.0, -2.0], [-3.0, -2.0]]), torch.arange(240) % 3
    inputs = centres[labels] + torch.randn(240, 2, generator=generator)
    train = torch.arange(240) < 180
    sets = {"forget": train & (labels == 2), "retain": train & (labels != 2), "test": ~train}
    return {name: (inputs[chosen], labels[chosen]) for name, chosen in sets.items()}


@pytest.fixture(scope="module")
def network(blobs: dict[str, tuple[Tensor, Tensor]]) -> nn.Module:
    model = nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
    both = tuple(torch.cat(parts) for parts in zip(blobs["forget"], blobs["retain"], strict=True))
    return train(model, both, epochs=30).model


def accuracy(model: nn.Module, samples: tuple[Tensor, Tensor]) -> float:
    with torch.no_grad():
        return (model.eval()(samples[0]).argmax(1) == samples[1]).float().mean().item()


def test_a_users_own_model_and_loaders_in_ten_lines(blobs, network) -> None:
    forget, retain = (
        DataLoader(TensorDataset(*blobs[name]), batch_size=16, shuffle=True) for name in ("forget", "retain")
    )
    done = unlearn(network, forget, retain, method="neggrad_plus", epochs=3, batch_size=16)
    assert accuracy(network, blobs["forget"]) > 0.9  # the network that was passed in is not changed
    assert accuracy(done.model, blobs["forget"]) < 0.1
    assert accuracy(done.model, blobs["retain"]) > 0.9
    assert done.access == {"forget": "inputs and labels", "retain": "inputs and labels"}
    assert {"forget_loss", "retain_loss"} <= done.curves.keys()
    assert done.settings["epochs"] == 3
    assert done.cost["cost/backward"] == 3 * 2 * 120  # the forget set of 60 begins anew beside 120 retain samples


def test_it_computes_what_a_run_computes(tmp_path: Path) -> None:
    """The same digits as tensors, under the names that the settings' rows ask for: the weights of the command line."""
    job = Job.of(composed("method=scrub", "pretrain.epochs=1", "tracking=none", f"paths.root={tmp_path}")[0])
    original = job.lab.train(job.problem, job.recipe, job.problem.split.train, 0).network
    run = job.lab.unlearn(job.problem, job.method, job.addons, original, seed=0)
    data, split = job.problem.data, job.problem.split
    sets = [(Transform(data)(data.inputs[ids]), data.labels[ids]) for ids in (split.forget, split.retain)]
    ours = unlearn(original, *sets, method="scrub", dataset="digits", model_name="small_cnn")
    assert [row.why for row in ours.rows]
    for name, tensor in run.network.state_dict().items():
        torch.testing.assert_close(ours.model.state_dict()[name], tensor, rtol=1e-4, atol=1e-5)
    assert ours.cost["cost/passes"] == run.cost["cost/passes"]


@pytest.mark.parametrize("method", ["ssd", "fisher", "bad_teacher", "eu_k", "influence_filter", "assd_repair"])
def test_methods_of_every_kind_run_on_any_network(method: str, blobs, network) -> None:
    small = {"recipe": "digits"} if method in ("eu_k", "influence_filter") else {}
    done = unlearn(network, blobs["forget"], blobs["retain"], method=method, **small)
    assert all(tensor.isfinite().all() for tensor in done.model.state_dict().values())
    changed = [not torch.equal(a, b) for a, b in zip(done.model.parameters(), network.parameters(), strict=True)]
    assert any(changed)


def test_addons_take_names_or_options(blobs, network) -> None:
    options = {"method": "neggrad_plus", "epochs": 1, "batch_size": 16}
    sparse = unlearn(network, blobs["forget"], blobs["retain"], addons={"saliency": {"keep": 0.1}}, **options)
    plain = unlearn(network, blobs["forget"], blobs["retain"], addons=["saliency"], **options)
    kept = [
        sum(int((a == b).sum()) for a, b in zip(done.model.parameters(), network.parameters(), strict=True))
        for done in (sparse, plain)
    ]
    weights = sum(p.numel() for p in network.parameters())
    assert kept[0] >= round(0.9 * weights) > kept[1] >= round(0.5 * weights)


def test_a_mapping_changes_a_part_of_an_option(blobs, network) -> None:
    done = unlearn(network, blobs["forget"], blobs["retain"], method="finetune", epochs=1, optimizer={"lr": 0.0})
    assert done.settings["optimizer"]["_target_"] == "torch.optim.SGD"
    assert all(torch.equal(a, b) for a, b in zip(done.model.parameters(), network.parameters(), strict=True))


def test_the_references_are_trained_from_scratch(blobs, network) -> None:
    first, same, other = (retrain(network, blobs["retain"], epochs=20, batch_size=16, seed=seed) for seed in (0, 0, 1))
    assert accuracy(first.model, blobs["retain"]) > 0.9
    assert accuracy(first.model, blobs["forget"]) < 0.1
    states = [torch.cat([p.flatten() for p in done.model.parameters()]) for done in (first, same, other)]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_evaluation_gives_rows_and_gaps(blobs, network) -> None:
    done = unlearn(network, blobs["forget"], blobs["retain"], method="neggrad_plus", epochs=3, batch_size=16)
    again = retrain(network, blobs["retain"], epochs=5, batch_size=16).model
    found = evaluate(done.model, *blobs.values(), original=network, retrained=again, evaluation="full")
    assert not found.failed
    assert set(found.rows) == {"original", "retrained", "unlearned"}
    row = found.rows["unlearned"]
    assert row["retain/acc"] == pytest.approx(accuracy(done.model, blobs["retain"]))
    assert found.gaps["gap/test/acc"] == pytest.approx(row["test/acc"] - found.rows["retrained"]["test/acc"])
    assert found.rows["original"]["test_forget/acc"] > 0.9 > 0.1 > row["test_forget/acc"]
    assert evaluate(done.model, *blobs.values()).gaps == {}


def test_two_models_are_compared_by_the_predictions_of_each(blobs, network) -> None:
    """Three networks that differ: no distance between two of them is zero, and each is that of its own predictions."""
    uniform, other = nn.Linear(2, 3), nn.Linear(2, 3)
    nn.init.zeros_(uniform.weight), nn.init.zeros_(uniform.bias)
    fresh = {"evaluation": "full", "fresh": lambda: copy.deepcopy(uniform)}
    row = evaluate(network, *blobs.values(), retrained=other, **fresh).rows["unlearned"]
    with torch.no_grad():
        p, q = (model.eval()(blobs["forget"][0]).double().softmax(1).numpy() for model in (network, other))
    to_other = jensenshannon(p, q, axis=1) ** 2  # scipy's is the root
    assert row["distance/js_forget"] == pytest.approx(to_other.mean(), rel=1e-4)
    assert row["distance/activation_forget"] == pytest.approx(np.linalg.norm(p - q, axis=1).mean(), rel=1e-4)
    to_uniform = jensenshannon(p, np.full_like(p, 1 / 3), axis=1) ** 2
    assert row["zrf/forget"] == pytest.approx(1 - to_uniform.mean(), rel=1e-4)
    assert min(to_other.mean(), to_uniform.mean(), abs(to_other.mean() - to_uniform.mean())) > 0.01


def test_grey_images_for_a_network_of_three_channels_are_refused() -> None:
    model, grey = torchvision.models.squeezenet1_1(num_classes=2), torch.rand(4, 1, 32, 32)
    with pytest.raises(UserError, match=r"\(1, 1, 32, 32\).* 3 channels") as caught:
        unlearn(model, (grey, torch.zeros(4)), (grey, torch.ones(4)))
    assert (caught.value.key, len(str(caught.value).splitlines())) == ("model", 1)


def test_nothing_is_left_behind(blobs, network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before, environment = GlobalHydra.instance().hydra, dict(os.environ)
    state = copy.deepcopy(network.state_dict())
    torch.manual_seed(5), np.random.seed(5)
    expected = torch.rand(3), np.random.rand(3)
    torch.manual_seed(5), np.random.seed(5)
    unlearn(network, blobs["forget"], blobs["retain"], method="scrub", epochs=1, msteps=1)
    assert torch.equal(torch.rand(3), expected[0])
    assert np.array_equal(np.random.rand(3), expected[1])
    assert list(tmp_path.iterdir()) == []
    assert GlobalHydra.instance().hydra is before
    assert dict(os.environ) == environment
    assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in state.items())


def test_loggers_and_warnings_are_as_before(blobs, network) -> None:
    root, lightning = logging.getLogger(), logging.getLogger("lightning.pytorch")
    quiet_before = list(root.handlers)
    SCREEN in root.handlers and root.removeHandler(SCREEN)  # the tests' own
    before = list(root.handlers), lightning.level, list(warnings.filters)
    unlearn(network, blobs["forget"], blobs["retain"], method="finetune", epochs=1)
    assert (list(root.handlers), lightning.level, list(warnings.filters)) == before
    root.handlers[:] = quiet_before


def test_the_model_that_comes_back_carries_nothing_of_the_way(blobs, network) -> None:
    model = network
    for method in ("finetune", "bad_teacher", "ssd"):
        model = unlearn(model, blobs["forget"], blobs["retain"], method=method).model
        assert not model._forward_hooks
        assert all(parameter.grad is None for parameter in model.parameters())
    again = pickle.loads(pickle.dumps(model))
    assert accuracy(again, blobs["retain"]) == accuracy(model, blobs["retain"])


def test_the_seed_decides_the_order_of_shuffled_loaders(blobs, network) -> None:
    found = []
    for state in (1, 2):
        torch.manual_seed(state)
        loaders = [DataLoader(TensorDataset(*blobs[name]), 16, shuffle=True) for name in ("forget", "retain")]
        found.append(unlearn(network, *loaders, method="finetune", epochs=1, batch_size=16).model.state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_network_keeps_its_precision(dtype: torch.dtype, blobs, network) -> None:
    model = copy.deepcopy(network).to(dtype)
    for method in ("finetune", "ssd"):
        done = unlearn(model, blobs["forget"], blobs["retain"], method=method)
        assert {p.dtype for p in done.model.parameters()} == {dtype}
    assert not evaluate(done.model, *blobs.values()).failed


def test_a_recipe_follows_the_data_set(blobs, network) -> None:
    small = {"k": 1, "batch_size": 16, "optimizer": {"lr": 0.0}}
    done = unlearn(network, blobs["forget"], blobs["retain"], method="eu_k", dataset="cifar10", **small)
    assert done.settings["epochs"] == settings.choice("pretrain", "cifar10")["epochs"]


def test_rows_of_any_scenario_can_be_asked_for() -> None:
    poison = settings.method_settings("ssd", {}, "digits", "digits", "small_cnn", "poison")[1]
    assert any("poison" in row.when.get("scenario", ()) for row in poison)


class Scaled(nn.Module):
    """A layer with a weight and no way to initialise it again."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.weight


@pytest.mark.parametrize(
    ("change", "key", "kind"),
    [
        ({"method": "sdd"}, "method", "choice"),
        ({"alpha": 0.0}, "method.alpha", "value"),
        ({"alhpa": 1.0}, "method.alhpa", "key"),
        ({"method": "finetune", "addons": ["sallency"]}, "addon", "choice"),
        ({"addons": ["l1"]}, "addon", "conflict"),
        ({"method": "finetune", "addons": {"l1": {"weigth": 1.0}}}, "addon.l1.weigth", "key"),
        ({"forget": (torch.zeros(0, 2), torch.zeros(0))}, "forget", "value"),
        ({"forget": (torch.zeros(4, 2, dtype=torch.uint8), torch.zeros(4))}, "forget", "value"),
        ({"forget": TensorDataset(torch.zeros(4, 2))}, "forget", "value"),
        ({"forget": (torch.zeros(4, 2), torch.zeros(3))}, "forget", "value"),
        ({"forget": (torch.zeros(4, 2), torch.zeros(4, 3))}, "forget", "value"),
        ({"forget": (torch.zeros(4, 2), torch.full((4,), 1.5))}, "forget", "value"),
        ({"forget": (torch.zeros(4, 3), torch.zeros(4))}, "forget", "conflict"),
        ({"forget": [(torch.zeros(2), 0), (torch.zeros(3), 0)]}, "forget", "value"),
        ({"forget": 3}, "forget", "value"),
        ({"model": nn.Linear(5, 3)}, "model", "value"),
        ({"model": nn.Flatten()}, "model", "value"),
        ({"seed": -1}, "seed", "value"),
        ({"dataset": "nope"}, "dataset", "choice"),
        ({"forget": (torch.zeros(4, 2), torch.full((4,), 3))}, "labels", "value"),
        ({"model": nn.Sequential(nn.Linear(2, 3), Scaled()), "method": "bad_teacher"}, "fresh", "missing"),
        ({"method": "emmn", "forget": (torch.zeros(2, 2), torch.tensor([0, 1]))}, "scenario", "conflict"),
    ],
)
def test_what_cannot_work_is_one_line(change: dict, key: str, kind: str, blobs, network) -> None:
    arguments = {"model": network, "forget": blobs["forget"], "retain": blobs["retain"], "method": "ssd"} | change
    with pytest.raises(UserError) as caught:
        unlearn(**arguments)
    assert (caught.value.key, caught.value.kind) == (key, kind)
    assert len(str(caught.value).splitlines()) == 1


def test_a_function_makes_networks_that_cannot_be_initialised_again(blobs) -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(2, 3), Scaled())

    done = unlearn(make(), blobs["forget"], blobs["retain"], method="bad_teacher", fresh=make)
    assert done.cost["cost/passes"] > 0


def test_the_examples_in_the_docstrings_run() -> None:
    found = doctest.testmod(api)
    assert found.failed == 0
    assert found.attempted > 10


def test_importing_the_package_imports_no_torch() -> None:
    import subprocess
    import sys

    program = "import sys, unlearning; print('torch' in sys.modules, unlearning.__version__)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout.split() == ["False", unlearning.__version__]
