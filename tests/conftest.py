"""Fixtures made from the real configuration: tests compose what users compose."""

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # many small processes: more threads only get in each other's way

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from tests.command_line import command, refused
from unlearning.config.compose import composed
from unlearning.config.paths import CONF
from unlearning.data.datasets import Dataset
from unlearning.engine.compute import Compute
from unlearning.engine.fitting import fit
from unlearning.methods.base import Method
from unlearning.methods.one_shot import OneShot
from unlearning.records import summary_figure
from unlearning.records.log import quiet
from unlearning.scenarios.base import Problem, assemble
from unlearning.types import Networks

__all__ = ["command", "composed", "refused"]
ROOT = Path(__file__).resolve().parents[1]

torch.set_num_threads(1)
quiet()


def names(group: str) -> list[str]:
    """The choices of a configuration group."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@pytest.fixture(autouse=True)
def blank(monkeypatch: pytest.MonkeyPatch) -> None:
    """Summaries of runs are blank: drawing them would take half of the time of all tests."""
    monkeypatch.setattr(summary_figure, "summary_figure", lambda _: Figure(figsize=(1, 1)))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for the whole session, so that each reference model is trained once."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture
def places(shared: Path, tmp_path: Path) -> list[str]:
    """Overrides that keep a test's files in its own folder, with the session's store."""
    return [f"paths.root={tmp_path}", f"paths.store={shared}/store", f"paths.data={tmp_path}/data"]


def compute(steps: int = -1, **settings: object) -> Compute:
    """A trainer's settings on the CPU; ``steps`` limits the optimiser's steps."""
    return Compute({"_target_": "lightning.Trainer", "accelerator": "cpu", "max_steps": steps, **settings})


class Tiny:
    """Four one-pixel images, two classes, and softmax regression: small enough to derive every step by hand.

    Samples 0 and 1 are to be forgotten, 2 and 3 to be retained; pixels are x in [0, 1].
    """

    pixels = (51, 255, 102, 204)  # x = .2, 1, .4, .8
    labels = (0, 1, 0, 1)

    def __init__(self, weight: tuple[float, float] = (0.5, -1.0), crop: int = 0) -> None:
        inputs = torch.tensor(self.pixels, dtype=torch.uint8).view(4, 1, 1, 1)
        ids = torch.arange(4)
        self.data = Dataset(
            "tiny", inputs, torch.tensor(self.labels), ("a", "b"), ids, ids[:0], ids, (0.0,), (1.0,), crop
        )
        self.split = assemble(self.data, ids[:2], torch.zeros(4, dtype=torch.bool))
        self.model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False))
        nn.init._no_grad_fill_(self.model[1].weight, 0.0)
        with torch.no_grad():
            self.model[1].weight.copy_(torch.tensor(weight)[:, None])

    @property
    def weight(self) -> torch.Tensor:
        """(2,) the weights as they are now."""
        return self.model[1].weight.detach().flatten().clone()

    @property
    def problem(self) -> Problem:
        """The data and what of them is to be forgotten."""
        return Problem.of(self.data, self.split)

    def networks(self) -> Networks:
        """Makers of networks like ``model``."""

        def fresh() -> nn.Module:
            return nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False))

        return Networks(fresh, fresh)

    def fit(self, method: Method, steps: int = -1, seed: int = 3, **trainer: Any) -> None:
        """Let a method change ``model``, for at most this number of optimiser steps."""
        fit(method, self.problem, compute(steps, **trainer), seed, self.networks())

    def edit(self, method: OneShot, seed: int = 3) -> np.ndarray:
        """Let a one-shot method change ``model``.

        (2,) the first standard normal numbers that the edit can have drawn.
        """
        self.fit(method, seed=seed)
        torch.manual_seed(seed)
        return torch.randn(2, 1).flatten().numpy()


@pytest.fixture
def tiny() -> Tiny:
    return Tiny()


# Transformers in double precision and eval mode: (B, 1, 16, 16) to 4 logits


def tiny_vit() -> nn.Module:
    """Patches of 8 x 8 pixels; every sample's positions attend to each other."""
    return transformer("vit_tiny_patch16_224", patch_size=8, embed_dim=8, depth=1, num_heads=2)


def tiny_swin() -> nn.Module:
    """Windows of 2 x 2 patches, shifted in the second block: four rows a sample, and then one."""
    return transformer(
        "swin_tiny_patch4_window7_224", patch_size=4, window_size=2, embed_dim=8, depths=(2, 1), num_heads=(2, 2)
    )


def transformer(name: str, **sizes: object) -> nn.Module:
    import timm  # here, since it takes seconds and few tests need it

    torch.manual_seed(0)
    return timm.create_model(name, img_size=16, in_chans=1, num_classes=4, **sizes).double().eval()
