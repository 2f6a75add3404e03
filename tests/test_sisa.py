"""SISA: an ensemble of networks that learn shards, slice by slice, and exact unlearning from the states between."""

import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.conftest import composed, compute
from unlearning.data.datasets import Dataset
from unlearning.engine import fitting
from unlearning.errors import UserError
from unlearning.methods.finetune import FineTune
from unlearning.methods.sisa import SISA
from unlearning.models.ensemble import Ensemble
from unlearning.models.head import WithFeatures
from unlearning.pipeline import run
from unlearning.request import Request
from unlearning.scenarios.base import Problem, assemble
from unlearning.types import Networks

SAMPLES, CLASSES = 12, 2
LR = 0.5


def member() -> nn.Module:
    """Softmax regression on a pixel."""
    return nn.Sequential(nn.Flatten(), nn.Linear(1, CLASSES))


def ensemble(shards: int = 2, slices: int = 3) -> Ensemble:
    torch.manual_seed(5)
    return Ensemble(member, shards, slices)


def data() -> Dataset:
    """Twelve one-pixel images, all of them training samples."""
    ids = torch.arange(SAMPLES)
    pixels = (ids * 20).to(torch.uint8).view(-1, 1, 1, 1)
    return Dataset("line", pixels, ids % CLASSES, ("a", "b"), ids, ids[:0], ids, (0.0,), (1.0,))


def request(*forget: int) -> Problem:
    raw = data()
    return Problem.of(raw, assemble(raw, torch.tensor(forget), torch.zeros(SAMPLES, dtype=torch.bool)))


def fitted(model: nn.Module, problem: Problem, seed: int = 3, **options: object) -> tuple[SISA, dict[str, float]]:
    shape = {"shards": 2, "slices": 3} if not isinstance(model, Ensemble) else vars(model)
    networks = Networks(member, lambda: Ensemble(member, shape["shards"], shape["slices"]))
    given = {"epochs": 4, "batch_size": 4, "optimizer": lambda weights: torch.optim.SGD(weights, lr=LR)} | options
    method = SISA(model, **given)
    return method, fitting.fit(method, problem, compute(), seed, networks)


def trained(*without: int, **options: object) -> Ensemble:
    """An ensemble trained from nothing on all samples but some."""
    kept = torch.tensor([i for i in range(SAMPLES) if i not in without])
    model = ensemble()
    fitted(model, request(0).learning(kept), **options)
    return model


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def different(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    return [name for name, tensor in one.items() if not torch.equal(tensor, other[name])]


class Says(nn.Module):
    """Gives the same logits to every input."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(logits))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.weight.expand(len(inputs), -1)


def said(aggregate: str, *members: tuple[float, ...]) -> Tensor:
    """The probabilities of an ensemble whose networks give these probabilities."""
    networks = iter(members)
    model = Ensemble(lambda: Says(*(math.log(p) for p in next(networks))), len(members), aggregate=aggregate)
    return model(torch.zeros(1, 3)).softmax(1)[0]


def test_the_majority_wins_over_the_mean_and_the_mean_decides_ties() -> None:
    surely_a, b, c = (0.9, 0.05, 0.05), (0.1, 0.5, 0.4), (0.2, 0.3, 0.5)
    mean = np.mean([surely_a, b, b], 0)  # .367, .35, .283: the mean has a, the majority b
    assert torch.allclose(said("mean", surely_a, b, b), torch.tensor(mean).float())
    assert torch.allclose(said("vote", surely_a, b, b), torch.tensor((mean + np.array([1, 2, 0])) / 4).float())
    assert said("vote", surely_a, b, b).argmax() == 1
    assert said("vote", surely_a, b, c).argmax() == 0  # a vote each


def test_extreme_logits_stay_finite_and_have_gradients() -> None:
    model = Ensemble(lambda: Says(500.0, -500.0, 0.0), 2)
    logits = model(torch.zeros(1, 1))
    logits.log_softmax(1)[0, 1].backward()
    assert logits.isfinite().all()
    assert all(one.weight.grad.isfinite().all() for one in model.members)


def test_every_slice_has_as_many_samples_and_a_sample_keeps_its_place() -> None:
    model = ensemble()
    model.seed.fill_(11)
    shards, slices = model.places(SAMPLES)
    assert (shards * 3 + slices).bincount().tolist() == [2] * 6
    assert shards.tolist() != sorted(shards.tolist())  # at random
    again = ensemble()
    again.seed.fill_(11)
    assert torch.equal(shards, again.places(SAMPLES)[0])
    again.seed.fill_(12)
    assert not torch.equal(shards, again.places(SAMPLES)[0])


def test_what_is_retrained_begins_at_the_first_slice_that_lacks_a_sample() -> None:
    learned = torch.tensor([[2, 2, 2], [2, 2, 2], [2, 2, 2], [0, 0, 0]])
    samples = torch.tensor([[2, 2, 2], [2, 1, 2], [1, 2, 0], [0, 0, 2]])
    assert SISA.firsts(learned, samples) == [3, 1, 0, 2]


def test_a_step_is_gradient_descent_on_the_slices_so_far() -> None:
    """One shard in two slices, an epoch each, all samples in a batch: by hand."""
    torch.manual_seed(5)
    model = Ensemble(member, 1, 2)
    problem = request(0).learning(torch.arange(SAMPLES))
    _, cost = fitted(model, problem, epochs=1, batch_size=64)
    begun = {name: tensor.double().numpy() for name, tensor in model.states[0][0].named_buffers()}
    weight, bias = begun["1/weight"][:, 0], begun["1/bias"]
    _, slices = model.places(SAMPLES)
    x, y = data().inputs.flatten().double().numpy() / 255, np.eye(2)[data().labels]
    for number in range(2):
        if number == 1:  # the state that is kept is the one before this slice
            assert np.allclose(model.states[0][1].get_buffer("1/weight")[:, 0], weight, atol=1e-6)
        held = (slices <= number).numpy()
        logits = np.outer(x[held], weight) + bias
        error = np.exp(logits) / np.exp(logits).sum(1, keepdims=True) - y[held]
        weight, bias = weight - LR * (error * x[held, None]).mean(0), bias - LR * error.mean(0)
    assert np.allclose(model.members[0][1].weight.detach()[:, 0], weight, atol=1e-6)
    assert np.allclose(model.members[0][1].bias.detach(), bias, atol=1e-6)
    assert cost["cost/forward"] == 6 + 12


def test_unlearning_is_training_without_the_samples_bit_by_bit() -> None:
    model = trained()
    shards, slices = model.places(SAMPLES)
    (forgotten,) = (((shards == 1) & (slices == 1)).nonzero()[:1, 0].tolist(),)
    before = state(model)
    method, cost = fitted(model, request(*forgotten), seed=99)  # the seed of the request decides nothing
    assert different(state(model), state(trained(*forgotten))) == []
    changed = different(before, state(model))
    assert all(name.startswith(("members.1.", "states.1.2.", "learned")) for name in changed)
    assert {"members.1.1.weight", "states.1.2.1/weight", "learned"} <= {*changed}
    assert {name: int(values[-1]) for name, values in method.curves.items()} == {
        "shards": 1,
        "other_shards": 1,
        "slices": 2,
    }
    # 4 epochs in 3 slices are round(2 * 4 / 4) = 2 an each: slices of 2, 1 and 2 samples, in steps of 3 and 5
    assert cost["cost/forward"] == 2 * (3 + 5)


def test_a_shard_that_is_forgotten_whole_keeps_its_first_weights() -> None:
    model = trained()
    shards, _ = model.places(SAMPLES)
    forgotten = (shards == 0).nonzero()[:, 0].tolist()
    _, cost = fitted(model, request(*forgotten))
    assert different(state(model.members[0]), state(trained(*forgotten).members[0])) == []
    assert torch.equal(model.members[0][1].weight, model.states[0][0].get_buffer("1/weight"))
    assert cost["cost/forward"] == 0


def test_a_request_that_follows_another_ends_where_training_without_both_does() -> None:
    model = trained()
    fitted(model, request(4))
    fitted(model, request(4, 9), seed=8)
    assert different(state(model), state(trained(4, 9))) == []
    assert different(state(model), state(trained(4))) != []


def test_data_from_which_a_sample_was_deleted_are_refused() -> None:
    """Which network learned which of their samples cannot be known: rows moved up."""
    model = trained()
    ids = torch.arange(SAMPLES - 1)
    left = Dataset("line", data().inputs[1:], data().labels[1:], ("a", "b"), ids, ids[:0], ids, (0.0,), (1.0,))
    problem = Problem.of(left, assemble(left, torch.tensor([2]), torch.zeros(SAMPLES - 1, dtype=torch.bool)))
    with pytest.raises(UserError) as raised:
        fitted(model, problem)
    assert raised.value.key == "dataset"


def test_another_draw_is_another_model() -> None:
    model, other = trained(), trained()
    fitted(model, request(4))
    fitted(other, request(4), redraw=1)
    assert different(state(model), state(other)) != []
    assert torch.equal(model.learned, other.learned)


def test_it_takes_ensembles_alone_and_others_do_not_take_them() -> None:
    problem = request(1)
    with pytest.raises(UserError) as single:
        SISA(member()).check(problem.task)
    with pytest.raises(UserError) as other:
        FineTune(ensemble()).check(problem.task)
    assert (single.value.key, other.value.key) == ("pretrain", "method")


def test_features_are_those_of_all_networks() -> None:
    model = ensemble()
    inputs = torch.rand(3, 1, 1, 1)
    both = WithFeatures(copy.deepcopy(model), inputs)
    assert torch.equal(both(inputs)[:, CLASSES:], inputs.flatten(1).expand(-1, 2))
    assert torch.equal(both(inputs)[:, :CLASSES], model.eval()(inputs))


@pytest.mark.slow
def test_it_forgets_on_the_digits_exactly_one_request_after_the_other(tmp_path: Path) -> None:
    words = ["pretrain=sisa", "method=sisa", "pretrain.epochs=6", "tracking=none", f"paths.root={tmp_path}"]
    small = ["pretrain.ensemble.shards=2", "pretrain.ensemble.slices=2", "scenario=class"]
    first = run(Request(*composed(*words, *small, "scenario.classes=[3]")))
    second = run(Request(*composed(*words, *small, "scenario.classes=[5]", f"after={first}")))
    for folder in (first, second):
        found = json.loads((folder / "results.json").read_text())
        rows, weights = found["rows"], load_file(folder / "unlearned.safetensors")
        assert rows["original"]["forget/acc"] > 0.8 > 0.01 > rows["unlearned"]["forget/acc"]
        assert rows["unlearned"]["retain/acc"] > 0.8
        assert found["gaps"]["gap/mean"] == 0
        assert int(weights["learned"].sum()) == found["sizes"]["retain"]
    assert found["rows"]["unlearned"]["earlier/acc"] == 0
