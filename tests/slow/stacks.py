"""Weights that stacks of add-ons come to on ``Tiny``, in as many processes as torchrun starts; rank 0 prints them."""

import copy
import dataclasses
import functools
import json
import os

import torch
from torch import distributed, nn

from tests.conftest import Tiny
from unlearning.addons.focus import And, Bernoulli, Focal, Focus, FocusOpt, Prob
from unlearning.addons.l1 import L1
from unlearning.addons.label_smoothing import LabelSmoothing
from unlearning.addons.opt import Opt
from unlearning.addons.parameter_noise import ParameterNoise
from unlearning.addons.prune import MagnitudePruning, Prune
from unlearning.addons.saliency import BatchSaliency, Saliency
from unlearning.addons.sam import SAM
from unlearning.config import build
from unlearning.data.datamodule import UnlearningData
from unlearning.methods.neggrad_plus import NegGradPlus
from unlearning.runtime.distributed import join, leave

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
    """With three classes, of which the third never occurs: two would make ties."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(1, 13), nn.ReLU(), nn.Linear(13, 3)).double()


def main() -> None:
    """Fit with each stack; fail if the processes differ."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    several = {"strategy": "ddp", "devices": world} if world > 1 else {}
    trainer = {"_target_": "lightning.Trainer", "accelerator": "cpu", "precision": "64-true", **several}
    join(trainer)
    found = {}
    for name, stack in STACKS.items():
        tiny = Tiny()
        start, tiny.model = network(seed=2), network(seed=1)
        sgd = functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.01)
        method = NegGradPlus(
            tiny.model, sgd, epochs=6, forget_weight=0.3, retain_weight=0.7, batch_norm="eval", addons=stack()
        )
        task = dataclasses.replace(tiny.task(), original_start=functools.partial(copy.deepcopy, start))
        data = UnlearningData(tiny.data, tiny.split, task)
        torch.rand(int(os.environ.get("RANK", "0")))  # the global generators part ways, as they do in real runs
        build.trainer({"trainer": trainer}, 6, []).fit(method, datamodule=data)
        weights = torch.cat([p.detach().flatten() for p in tiny.model.parameters()])
        if world > 1:
            both = [torch.empty_like(weights) for _ in range(world)]
            distributed.all_gather(both, weights)
            assert torch.equal(*both), f"{name}: the processes came to different weights"
        found[name] = weights.tolist()
    if int(os.environ.get("RANK", "0")) == 0:
        print(json.dumps(found))
    leave()


if __name__ == "__main__":
    main()
