"""Pruning before unlearning: what is pruned, that it stays so, and how what is left is trained."""

import copy
import functools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import Tiny, composed, tiny_swin, tiny_vit
from tests.test_addons_holding import MOMENTUM, wide
from tests.test_steps import FORGET, RETAIN, SGD, close, gradient
from unlearning.addons.magnitude_pruning import MagnitudePruning
from unlearning.addons.parameter_noise import ParameterNoise
from unlearning.addons.prune import Prune, prunable, synflow
from unlearning.engine.job import Job
from unlearning.errors import UserError
from unlearning.gradients.vectors import parts, trainable
from unlearning.methods.finetune import FineTune
from unlearning.types import Networks


def test_l1_pruning_zeroes_the_smallest_weights_for_good(tiny: Tiny) -> None:
    tiny.fit(FineTune(tiny.model, MOMENTUM, epochs=4, addons=[Prune("l1", rate=0.5), ParameterNoise(0.1)]))
    assert tiny.weight[0] == 0.0  # .5 against -1
    assert tiny.weight[1] not in (0.0, -1.0)


def test_pruning_ranks_all_layers_together_and_spares_vectors() -> None:
    tiny = wide()
    weights = torch.cat([p.detach().flatten() for p in tiny.model.parameters() if p.ndim > 1]).abs()
    vectors = torch.cat([p.detach().flatten() for p in tiny.model.parameters() if p.ndim == 1])
    tiny.fit(FineTune(tiny.model, functools.partial(torch.optim.SGD, lr=0.0), addons=[Prune("l1", rate=0.25)]))
    after = torch.cat([p.detach().flatten() for p in tiny.model.parameters() if p.ndim > 1])
    assert int((after == 0).sum()) == round(0.25 * 39) == 10
    assert weights[after == 0].max() <= weights[after != 0].min()
    assert torch.equal(vectors, torch.cat([p.detach().flatten() for p in tiny.model.parameters() if p.ndim == 1]))


def test_random_pruning_prunes_as_many_whatever_their_size() -> None:
    tiny = wide()
    tiny.fit(FineTune(tiny.model, SGD, addons=[Prune("random", rate=0.5)]))
    pruned = torch.cat([(p == 0).flatten() for p in tiny.model.parameters() if p.ndim > 1])
    assert int(pruned.sum()) == round(0.5 * 39)
    others = [Prune("l1", rate=0.5), Prune("random", rate=0.5)]
    found = [pruned]
    for addon in others:  # the smallest, and others at random by another seed
        again = wide()
        again.fit(FineTune(again.model, SGD, addons=[addon]), seed=4)
        found.append(torch.cat([(p == 0).flatten() for p in again.model.parameters() if p.ndim > 1]))
    assert len({tuple(chosen.tolist()) for chosen in found}) == 3


@pytest.mark.parametrize("rounds", [1, 10])
def test_synflow_prunes_whole_paths(rounds: int) -> None:
    # 1 -> 2 -> 1: the paths carry |1 * 3| = 3 and |-4 * .5| = 2, and so score all their weights; magnitude would prune
    # the 1 and the .5.
    model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0], [-4.0]]))
        model[1].weight.copy_(torch.tensor([[3.0, 0.5]]))
    before = copy.deepcopy(model.state_dict())
    pruned = synflow(model, (1,), torch.ones(4, dtype=torch.bool), rate=0.5, rounds=rounds)
    assert pruned.tolist() == [False, True, False, True]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("make", [tiny_swin, tiny_vit])
def test_synflow_leaves_no_layer_of_a_transformer_empty(make: Callable[[], nn.Module]) -> None:
    """Half of the signed scores under attention and GELU are negative; still a part of every layer must be left."""
    model = make()
    matrices = {n: m.weight for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    chosen = synflow(model, (1, 16, 16), prunable(model), rate=0.5, rounds=20)
    by_weight = dict(zip(trainable(model), parts(chosen, trainable(model)), strict=True))
    assert all(by_weight[weight].float().mean() < 0.99 for weight in matrices.values())
    others = [part for weight, part in by_weight.items() if not any(weight is matrix for matrix in matrices.values())]
    assert not torch.cat([part.flatten() for part in others]).any()  # neither embeddings nor tables of positions


def test_omp_trains_what_is_left_on_all_data(tiny: Tiny) -> None:
    still = functools.partial(torch.optim.SGD, lr=0.0)
    tiny.fit(FineTune(tiny.model, still, addons=[MagnitudePruning(rate=0.5, epochs=2, lr=0.4)]))
    x, y = np.concatenate([FORGET[0], RETAIN[0]]), np.concatenate([FORGET[1], RETAIN[1]])
    w, momentum = -1.0, 0.0
    for rate in (0.4, 0.2):  # half a cosine: (1 + cos 0) / 2 and (1 + cos(pi / 2)) / 2
        momentum = 0.9 * momentum + gradient(np.array([0.0, w]), x, y)[1] + 5e-4 * w
        w -= rate * momentum
    close(tiny, np.array([0.0, w]))


def test_omp_trains_on_batches_of_the_size_that_steps_draw(tiny: Tiny) -> None:
    sizes: list[int] = []
    tiny.model.register_forward_hook(lambda *call: sizes.append(len(call[-1])))
    addon = MagnitudePruning(rate=0.5, epochs=2)
    tiny.fit(FineTune(tiny.model, SGD, batch_size=3, addons=[addon]))
    assert sizes == [3, 3, 2]  # of four samples, without the lone last one, twice; then the two of the retain set


class Rewound(Tiny):
    """``Tiny`` whose original model started from the weights .3 and -.2."""

    def networks(self) -> Networks:
        return replace(super().networks(), original_start=lambda: Tiny((0.3, -0.2)).model)


def test_omp_rewinds_the_weights_that_are_left() -> None:
    tiny = Rewound()  # the model's weights are .5 and -1, so the first is pruned
    still = functools.partial(torch.optim.SGD, lr=0.0)
    addon = MagnitudePruning(rate=0.5, epochs=1, lr=0.4, rewind="weights")
    tiny.fit(FineTune(tiny.model, still, addons=[addon]))
    x, y = np.concatenate([FORGET[0], RETAIN[0]]), np.concatenate([FORGET[1], RETAIN[1]])
    w = -0.2
    close(tiny, np.array([0.0, w - 0.4 * (gradient(np.array([0.0, w]), x, y)[1] + 5e-4 * w)]))


def test_rewinding_needs_to_know_the_start(tiny: Tiny) -> None:
    with pytest.raises(UserError) as caught:
        tiny.fit(FineTune(tiny.model, SGD, addons=[MagnitudePruning(rewind="weights")]))
    assert (caught.value.key, caught.value.kind) == ("addon", "conflict")


def test_the_start_of_the_original_is_what_its_training_began_with(places: list[str]) -> None:
    config, _ = composed("seed=3", "pretrain.epochs=1", "pretrain.optimizer.lr=0", *places)
    job = Job.of(config)
    trained = job.lab.train(job.problem, job.recipe, job.problem.split.train, job.pretrain_seed).network
    start = job.lab.architecture.networks(job.problem.data).original_start()
    assert all(torch.equal(p, q) for p, q in zip(trained.parameters(), start.parameters(), strict=True))


def test_imp_leaves_the_same_share_in_each_round(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of 39 weights .25 remain after two rounds and so .5 after one: 19.5, which is rounded to 20 pruned.
    pruned = []
    monkeypatch.setattr(MagnitudePruning, "train", lambda addon, *_: pruned.append(addon.frozen))
    tiny = wide()
    tiny.fit(FineTune(tiny.model, SGD, addons=[MagnitudePruning(rate=0.75, rounds=2)]))
    assert [int(chosen.sum()) for chosen in pruned] == [20, 29]
    assert (pruned[1] | ~pruned[0]).all()  # what is pruned stays pruned


def test_the_rounds_of_magnitude_pruning() -> None:
    first, second = MagnitudePruning(rate=0.75, epochs=2, lr=0.4, rounds=2).rounds(start=None)
    assert (first.share, second.share) == pytest.approx((0.5, 0.75))  # a half is left, then a half of that
    assert first.rates == second.rates == pytest.approx([0.4, 0.2])  # half a cosine, anew in each round
