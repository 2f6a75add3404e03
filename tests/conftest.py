"""Fixtures made from the real configuration: tests compose what users compose."""

import functools
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # many small processes: more threads only get in each other's way

import lightning as L
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import open_dict
from torch import nn

from unlearning import cli
from unlearning.config import build
from unlearning.config.schema import GROUPS, ROOT, plain, register
from unlearning.data.datamodule import UnlearningData
from unlearning.data.datasets import Dataset
from unlearning.methods.base import OneShot
from unlearning.scenarios.base import assemble
from unlearning.types import Task

torch.set_num_threads(1)
cli.quiet()


def names(group: str) -> list[str]:
    """The choices of a configuration group."""
    return sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml"))


def composed(*overrides: str) -> tuple[dict, dict[str, str]]:
    """(configuration, choices) as the command line would compose them."""
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("config", list(overrides), return_hydra_config=True)
    choices = {group: config.hydra.runtime.choices.get(group) or "" for group in GROUPS}
    with open_dict(config):
        del config["hydra"]
    return plain(config), choices


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for the whole session, so that each reference model is trained once."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture
def places(shared: Path, tmp_path: Path) -> list[str]:
    """Overrides that keep a test's files in its own folder, with the session's store."""
    return [f"paths.root={tmp_path}", f"paths.store={shared}/store", f"paths.data={tmp_path}/data"]


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

    def task(self) -> Task:
        sizes = {name: len(self.split.sets[name]) for name in ("forget", "retain", "train")}
        ends = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)

        def fresh() -> nn.Module:
            return nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False))

        return Task(2, (), sizes, (1, 1, 1), *ends, augmented=False, fresh_model=fresh, starting_model=fresh)

    def fit(self, method: L.LightningModule, steps: int = -1) -> None:
        data = UnlearningData(self.data, self.split, self.task())
        config = {"trainer": {"_target_": "lightning.Trainer", "accelerator": "cpu", "max_steps": steps}}
        build.trainer(config, method.passes, []).fit(method, datamodule=data)

    def edit(self, method: OneShot, seed: int = 3) -> np.ndarray:
        """As the pipeline does: the look at the data, then the edit.

        (2,) the first standard normal numbers that the edit can have drawn.
        """
        self.fit(method)
        method.look = functools.partial(method.trainer.datamodule.batches_for, method)
        torch.manual_seed(seed)
        noise = torch.randn(2, 1).flatten().numpy()
        torch.manual_seed(seed)
        with torch.no_grad():
            method.edit()
        return noise


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
