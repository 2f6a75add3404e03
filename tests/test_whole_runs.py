"""Whole runs of the networks of the feasible-updates paper on a handful of small images, and in double precision."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_digits

from tests.conftest import composed
from unlearning.pipeline import run
from unlearning.request import Request

NETWORKS = [["resnet20"]]
LARGE = [
    ["resnet44"],
    ["resnet56"],
    ["resnet18"],
    ["resnet50"],
    ["vgg16_bn"],
    ["vgg16_bn_mlp"],
    ["swin_t", "model.resize=32"],
]


def folder_of(words: Sequence[str]) -> Path:
    """The folder of the run that these settings ask for."""
    return run(Request(*composed(*words), overrides=words))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images of each of three digits."""
    folder, digits = tmp_path_factory.mktemp("images"), load_digits()
    for digit in range(3):
        (folder / str(digit)).mkdir()
        for number, pixels in enumerate(digits.images[digits.target == digit][:12]):
            Image.fromarray((pixels * 15).astype("uint8")).save(folder / str(digit) / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    "model",
    NETWORKS + [pytest.param(large, marks=pytest.mark.slow) for large in LARGE],
    ids=lambda model: model[0],
)
def test_a_whole_run_with_feasible_updates(model: list[str], images: Path, tmp_path: Path) -> None:
    network, *options = model
    words = ["dataset=image_folder", f"dataset.root={images}", "dataset.size=8", "dataset.crop=1"]
    words += [f"model={network}", *options, "scenario=random", "scenario.count=6"]
    words += ["pretrain.epochs=1", "pretrain.batch_size=8", "pretrain.optimizer.lr=0.01"]
    words += ["method=neggrad_plus", "method.epochs=2", "method.batch_size=8"]
    words += ["addon=[focus,opt]", "addon.opt.scope=tensor", "tracking=none", f"paths.root={tmp_path}"]
    place = folder_of(words)
    results = json.loads((place / "results.json").read_text())
    assert results["failed"] == {}
    assert results["rows"].keys() == {"original", "retrained", "unlearned"}
    sizes = results["sizes"]
    assert (sizes["forget"], sizes["retain"]) == (6, 19)
    # two epochs of three retain batches, each with all of forget
    assert results["cost"]["cost/backward"] == 2 * (19 + 3 * 6)
    unlearned = load_file(place / "unlearned.safetensors")
    assert all(tensor.isfinite().all() for tensor in unlearned.values())
    kept = [load_file(file) for file in (tmp_path / "store" / "models").glob("*.safetensors")]
    assert len(kept) == 2  # the original and the retrained model
    for reference in kept:
        weights = {name[7:]: tensor for name, tensor in reference.items() if name.startswith("weight ")}
        assert weights.keys() == unlearned.keys()
        assert not all(torch.equal(weights[name], tensor) for name, tensor in unlearned.items())


def test_a_one_shot_method_edits_in_the_precision_of_the_trainer(places: list[str]) -> None:
    """The step is linear in its scale, to double precision, whether the look at the data was made before or not."""

    def weights(alpha: float) -> torch.Tensor:
        words = ["dataset=wine", "method=wood_fisher", f"method.alpha={alpha}", "method.keep=null"]
        words += ["trainer.precision=64-true", "pretrain.epochs=1", "retrained=false", "tracking=none", *places]
        state = load_file(folder_of(words) / "unlearned.safetensors")
        return torch.cat([tensor.flatten() for tensor in state.values()])

    whole, half, quarter = map(weights, (1.0, 0.5, 0.25))
    assert whole.dtype == torch.float64
    assert (whole - half).norm() > 1e-3
    torch.testing.assert_close(whole - half, 2 * (half - quarter), rtol=1e-9, atol=1e-12)
