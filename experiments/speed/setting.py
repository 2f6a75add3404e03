"""What is timed: CIFAR-shaped random images (speed does not depend on what they show) and a ResNet-18 of width 16."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import open_dict
from torch import nn

from unlearning.config import build
from unlearning.config.schema import GROUPS, ROOT, plain, register
from unlearning.data.datamodule import UnlearningData
from unlearning.data.datasets import Dataset
from unlearning.methods.base import Method, OneShot
from unlearning.scenarios.forgetting import ClassForgetting

Config = dict[str, Any]
COMMON = ("dataset=cifar10", "model=resnet18", "model.width=16", "tracking=none", "paths.root=/nowhere")


@functools.cache  # to compose is not part of any method
def composed(*overrides: str) -> tuple[Config, Mapping[str, str]]:
    """(configuration, choices) of a command line."""
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("config", list(overrides), return_hydra_config=True)
    choices = {group: config.hydra.runtime.choices.get(group) or "" for group in GROUPS}
    with open_dict(config):
        del config["hydra"]
    return plain(config), choices


def synthetic(train: int, held_out: int = 0, augmented: bool = True) -> Dataset:
    """``train`` training, and as many validation as test images of 3x32x32 uint8 noise, ten classes in turn."""
    count = train + 2 * held_out
    inputs = torch.randint(0, 256, (count, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    ids = torch.arange(count)
    parts = ids[:train], ids[train : train + held_out], ids[train + held_out :]
    classes = tuple(map(str, range(10)))
    crop, flip = (4, True) if augmented else (0, False)
    return Dataset("synthetic", inputs, ids % 10, classes, *parts, (0.5,) * 3, (0.25,) * 3, crop, flip)


class Bench:
    """One data set, one network, and the configuration of the real command line."""

    def __init__(self, data: Dataset) -> None:
        self.data = data
        self.config, _ = composed(*COMMON)
        self.split = ClassForgetting(seed=0, classes=[3]).split(data)
        self.task = build.task(self.config, data, self.split)
        torch.manual_seed(0)
        self.network = build.model(self.config, data)

    def method(self, name: str, *overrides: str) -> Method:
        """A method, and what of it after a +, as its configuration builds it, around a copy of the network."""
        config, _ = composed(*COMMON, f"method={name.partition('+')[0]}", *overrides)
        return build.method(config, copy.deepcopy(self.network))

    def datamodule(self) -> UnlearningData:
        return UnlearningData(self.data, self.split, self.task)

    def fit(self, method: Method, precision: str = "32-true") -> None:
        """The unlearning as a run does it, a one-shot method's edit and repair included."""
        torch.manual_seed(0)  # as a run does; how many samples GKT passes depends on what it draws
        data = self.datamodule()
        config = {"trainer": self.config["trainer"] | {"precision": precision}}
        build.trainer(config, method.passes, []).fit(method, datamodule=data)
        if isinstance(method, OneShot):
            method.look = lambda stream: data.batches_for(method, stream)
            with method.meter.running(), torch.no_grad():
                method.edit()
            if method.repair is not None:
                method.repair.meter = method.meter
                self.fit(method.repair, precision)


def state(network: nn.Module) -> torch.Tensor:
    """All parameters of a network as one vector."""
    return torch.cat([p.detach().flatten() for p in network.parameters()])
