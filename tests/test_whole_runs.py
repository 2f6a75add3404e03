"""Whole runs: of the feasible updates paper's networks, over a handful of small images, and in double precision."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_digits

from tests.conftest import composed
from unlearning.pipeline import run

NETWORKS = [["resnet20"], ["resnet44"], ["resnet56"]]
LARGE = [["resnet18"], ["resnet50"], ["vgg16_bn"], ["vgg16_bn_mlp"], ["swin_t", "model.resize=32"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
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
def test_a_whole_run_with_feasible_updates(model: list[str], folder: Path, tmp_path: Path) -> None:
    data = ["dataset=image_folder", f"dataset.root={folder}", "dataset.size=8", "dataset.crop=1"]
    short = [
        "pretrain.epochs=1",
        "pretrain.batch_size=8",
        "pretrain.optimizer.lr=0.01",
        "method.epochs=2",
        "method.batch_size=8",
        "tracking=none",
    ]
    method = ["method=neggrad_plus", "addon=[focus,opt]", "addon.opt.scope=tensor", "scenario=random"]
    network, *options = model
    settings = [*data, f"model={network}", *options, *short, *method, "scenario.count=6", f"paths.root={tmp_path}"]
    place = run(*composed(*settings), command="test")
    results = json.loads((place / "results.json").read_text())
    assert results["failed"] == {}
    assert results["rows"].keys() == {"original", "retrained", "unlearned"}
    sizes = results["sizes"]
    assert (sizes["forget"], sizes["retain"]) == (6, 19)
    assert results["cost"]["cost/backward"] == 2 * (
        19 + 3 * 6
    )  # epochs of three retain batches, each with all of forget
    unlearned = load_file(place / "unlearned.safetensors")
    assert all(tensor.isfinite().all() for tensor in unlearned.values())
    originals = [load_file(file) for file in (tmp_path / "store" / "models").glob("*.safetensors")]
    assert len(originals) == 2
    for original in originals:
        assert original.keys() == unlearned.keys()
        assert not all(torch.equal(original[name], tensor) for name, tensor in unlearned.items())


def test_a_one_shot_method_edits_in_the_precision_of_the_trainer(places: list[str]) -> None:
    """The step is linear in its scale, to double precision, whether the look at the data was made before or not."""

    def weights(alpha: float) -> torch.Tensor:
        settings = ["dataset=wine", "method=wood_fisher", f"method.alpha={alpha}", "trainer.precision=64-true"]
        short = ["pretrain.epochs=1", "retrained=false", "tracking=none", *places]
        state = load_file(run(*composed(*settings, *short), command="test") / "unlearned.safetensors")
        return torch.cat([tensor.flatten() for tensor in state.values()])

    whole, half, quarter = map(weights, (1.0, 0.5, 0.25))
    assert whole.dtype == torch.float64
    assert (whole - half).norm() > 1e-3
    torch.testing.assert_close(whole - half, 2 * (half - quarter), rtol=1e-9, atol=1e-12)
