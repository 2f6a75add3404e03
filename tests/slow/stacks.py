"""Fit ``Tiny`` with stacks of add-ons in as many processes as torchrun starts; rank 0 prints the weights as JSON."""

import copy
import functools
import json
import os

import torch
from torch import distributed, nn

from tests.conftest import Tiny, compute
from unlearning.addons.bernoulli import Bernoulli
from unlearning.addons.focal import Focal
from unlearning.addons.focus import Focus
from unlearning.addons.focus_opt import FocusOpt
from unlearning.addons.l1 import L1
from unlearning.addons.label_smoothing import LabelSmoothing
from unlearning.addons.magnitude_pruning import MagnitudePruning
from unlearning.addons.opt import Opt
from unlearning.addons.parameter_noise import ParameterNoise
from unlearning.addons.prob import Prob
from unlearning.addons.prune import Prune
from unlearning.addons.saliency import Saliency
from unlearning.addons.saliency_batch import BatchSaliency
from unlearning.addons.sam import SAM
from unlearning.addons.sign_and import And
from unlearning.data.datamodule import UnlearningData
from unlearning.engine.fitting import run
from unlearning.methods.neggrad_plus import NegGradPlus
from unlearning.runtime.distributed import join, leave
from unlearning.types import Networks

STACKS = {
    "focus,opt,l1": lambda: [Focus(), Opt(), L1(1e-3)],
    "prob,bernoulli,parameter_noise": lambda: [Prob(), Bernoulli(), ParameterNoise(1e-3)],
    "and,focal,sam": lambda: [And(), Focal(2.0), SAM(0.1)],
    "focus_opt,saliency": lambda: [FocusOpt(), Saliency(0.5)],
    "saliency_batch,prune": lambda: [BatchSaliency(0.5), Prune("random", 0.3)],
    "centred focus,label_smoothing": lambda: [Focus(centred=True), LabelSmoothing(0.2)],
    "centred bernoulli,opt by tensor": lambda: [Bernoulli(centred=True), Opt("tensor")],
    "synflow": lambda: [Prune("synflow", 0.3, rounds=5)],
    "prune_omp": lambda: [MagnitudePruning(0.3, epochs=2)],
    "prune_imp": lambda: [MagnitudePruning(0.5, epochs=2, rounds=2, rewind="weights")],
}


def network(seed: int) -> nn.Module:
    """A network of three classes, of which the third never occurs: with two there would be ties."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(1, 13), nn.ReLU(), nn.Linear(13, 3)).double()


def main() -> None:
    """Fit with each stack; fail if the processes differ.

    The whole of ``fitting.fit`` would give all processes the weights of the first in the end, and hide a difference.
    """
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    several = {"strategy": "ddp", "devices": world} if world > 1 else {}
    computing = compute(precision="64-true", **several)
    join(computing.settings)
    found = {}
    for name, stack in STACKS.items():
        tiny = Tiny()
        start, tiny.model = network(seed=2), network(seed=1)
        sgd = functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.01)
        method = NegGradPlus(
            tiny.model, sgd, epochs=6, forget_weight=0.3, retain_weight=0.7, batch_norm="eval", addons=stack()
        )
        problem, make = tiny.problem, functools.partial(copy.deepcopy, start)
        method.data = UnlearningData(problem.data, problem.split, problem.task, Networks(make, make, make))
        torch.rand(rank)  # the global generators of the processes differ, as they do in real runs
        run(method, computing, name)
        weights = torch.cat([p.detach().flatten() for p in tiny.model.parameters()])
        if world > 1:
            all_weights = [torch.empty_like(weights) for _ in range(world)]
            distributed.all_gather(all_weights, weights)
            assert all(torch.equal(weights, others) for others in all_weights), f"{name}: the processes differ"
        found[name] = weights.tolist()
    if rank == 0:
        print(json.dumps(found))
    leave()


if __name__ == "__main__":
    main()
