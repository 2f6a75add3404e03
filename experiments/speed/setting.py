"""The subject of the measurements: random images in the shape of CIFAR-10, and a ResNet-18 of width 16.

Speed does not depend on what the images show.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from typing import Any

import torch

from unlearning.config.build import Spec, specs
from unlearning.config.compose import composed
from unlearning.data.datamodule import UnlearningData
from unlearning.data.datasets import Dataset
from unlearning.engine.compute import Compute
from unlearning.engine.fitting import fit
from unlearning.engine.job import Job
from unlearning.methods.base import Method

COMMON = (
    "dataset=cifar10",
    "model=resnet18",
    "model.width=16",
    "scenario.classes=[3]",
    "tracking=none",
    "paths.root=/nowhere",
)


@functools.cache  # composing is not part of any method's time
def settings(*overrides: str) -> dict[str, Any]:
    """The configuration of the benchmark's common command line and further overrides."""
    return composed(*COMMON, *overrides)[0]


def unguarded(method: Mapping[str, Any]) -> dict[str, Any]:
    """A method's configuration without the guard, which no floor has."""
    parts = {name: part for name, part in method.items() if name != "keep"}
    return {name: unguarded(part) if isinstance(part, dict) else part for name, part in parts.items()}


def synthetic(train: int, held_out: int = 0, augmented: bool = True) -> Dataset:
    """A data set of uint8 noise, (3, 32, 32) as a network sees it, with ten classes in turn.

    Args:
        train: the number of training samples.
        held_out: the number of validation samples, and also of test samples.
        augmented: whether training images are cropped and flipped.
    """
    count = train + 2 * held_out
    inputs = torch.randint(0, 256, (count, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    ids = torch.arange(count)
    parts = ids[:train], ids[train : train + held_out], ids[train + held_out :]
    classes = tuple(map(str, range(10)))
    crop, flip = (4, True) if augmented else (0, False)
    return Dataset("synthetic", inputs, ids % 10, classes, *parts, (0.5,) * 3, (0.25,) * 3, crop, flip)


class Bench:
    """One data set, one network, and otherwise the configuration of the command line.

    The arguments are those of ``synthetic``, and overrides of the common command line.
    """

    def __init__(self, train: int, held_out: int = 0, augmented: bool = True, *overrides: str) -> None:
        data = {"train": train, "held_out": held_out, "augmented": augmented}
        self.job = Job.of(settings(*overrides) | {"dataset": {"_target_": f"{__name__}.synthetic", **data}})
        self.problem, self.lab = self.job.problem, self.job.lab
        torch.manual_seed(0)
        self.network = self.lab.architecture.network(self.problem.data)

    def method(self, name: str, *overrides: str) -> Method:
        """A new method around a copy of the network, as its configuration says; of ``scrub+r`` the part before +."""
        config = settings(f"method={name.partition('+')[0]}", *overrides)
        addons = specs(config["addon"], "addon")
        method = Spec("method", unguarded(config["method"]))
        return self.lab.method(self.problem, method, addons, copy.deepcopy(self.network))

    def datamodule(self) -> UnlearningData:
        """The data as Lightning sees it."""
        return UnlearningData(self.problem.data, self.problem.split, self.problem.task)

    def fit(self, method: Method, precision: str = "32-true") -> None:
        """Let a method unlearn as it does in a run, except that its observations are not cached."""
        compute = Compute({**self.lab.compute.settings, "precision": precision})
        fit(method, self.problem, compute, seed=0, networks=self.lab.architecture.networks(self.problem.data))
