"""A model goes in from a user's own code and comes out there: the line that the card prints loads it."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.command_line import Done
from unlearning.verify.command import main as verify

SIZE, CLASSES, EACH = 8, 3, 6
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
NAME = "shufflenet_v2_x0_5"  # small, with BatchNorm


class Lit(L.LightningModule):
    """A user's module around a network of torchvision."""

    def __init__(self) -> None:
        super().__init__()
        self.model = torchvision.models.get_model(NAME, num_classes=CLASSES)
        self.loss = nn.CrossEntropyLoss(weight=torch.ones(CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        return logits


MODELS: dict[str, tuple[Callable[[], nn.Module], list[str]]] = {
    "lightning": (Lit, ["model=torchvision", f"model.name={NAME}"]),
    "torchvision": (
        lambda: torchvision.models.get_model(NAME, num_classes=CLASSES),
        ["model=torchvision", f"model.name={NAME}"],
    ),
    "timm": (
        lambda: timm.create_model("test_resnet", num_classes=CLASSES),
        ["model=timm", "model.name=test_resnet"],
    ),
}


@pytest.fixture
def pets(tmp_path: Path) -> list[str]:
    """The words of a command about a folder of random images."""
    draws = np.random.default_rng(0)
    for name in "abc":
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(EACH):
            pixels = draws.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / name / f"{name}{number}.png")
    (tmp_path / "delete.txt").write_text("a1.png\nb2.png\n")
    data = ["dataset=image_folder", f"dataset.root={tmp_path}/pets", f"dataset.size={SIZE}", "dataset.crop=0"]
    statistics = [f"dataset.mean={[*MEAN]}".replace(" ", ""), f"dataset.std={[*STD]}".replace(" ", "")]
    return [*data, *statistics, "scenario=list", f"scenario.file={tmp_path}/delete.txt", "tracking=none"]


def logits_of(model: nn.Module, folder: Path) -> Tensor:
    """(N, C) of all images in the order of their names, as the user's own code has them."""
    files = sorted(folder.glob("*/*.png"))
    images = torch.stack([torchvision.transforms.functional.to_tensor(Image.open(file)) for file in files])
    with torch.no_grad():
        found: Tensor = model.eval()(torchvision.transforms.functional.normalize(images, MEAN, STD))
    return found


def proof(done: Done, listed: Path, own: Path) -> None:
    """Assert that the run names the list and the checkpoint by digest, and that both can be verified."""
    results, card = done.results, (done.folder / "MODEL_CARD.md").read_text()
    digests = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in (("list", listed), ("own", own))}
    assert results["inputs"]["scenario.file"] == digests["list"]
    assert results["checkpoint"]["sha256"] == digests["own"]
    assert f"List of 2 entries: SHA-256 `{digests['list']}`" in card
    for part in (digests["own"], results["verdict"], results["hardware"]["processor"], "| original | unlearned |"):
        assert part in card
    assert "proves nothing" in results["verdict"]  # there is no retrained model
    assert not any(name in card for name in ("a1.png", "b2.png"))
    assert verify([str(done.folder), "--model", str(own)]) == 0
    other = own.with_name(f"other{own.suffix}")
    changed = MODELS["lightning"][0]().state_dict()
    if own.suffix == ".ckpt":
        torch.save({"state_dict": changed}, other)
    else:
        save_file(changed, other)
    assert verify([str(done.folder), "--model", str(other)]) == 1


@pytest.mark.parametrize(
    "kind", ["lightning", *(pytest.param(name, marks=pytest.mark.slow) for name in ("torchvision", "timm"))]
)
def test_the_line_on_the_card_loads_what_came_out(
    kind: str, pets: list[str], command: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, words = MODELS[kind]
    torch.manual_seed(0)
    model = make()
    logits_of(model.train(), tmp_path / "pets")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if kind == "lightning":
        torch.save({"state_dict": before, "epoch": 1, "pytorch-lightning_version": "2"}, tmp_path / "own.ckpt")
    else:
        save_file(before, tmp_path / "own.ckpt.safetensors")
    (own,) = tmp_path.glob("own.*")
    steps = ["method=finetune", "method.epochs=1", "method.keep=null", "retrained=false"]
    done = command(*pets, *words, *steps, f"pretrain.checkpoint={own}")
    others = ["loss.weight"] if kind == "lightning" else []
    assert done.code == 0
    assert done.err.count("not unlearned: ") == len(others)
    card = (done.folder / "MODEL_CARD.md").read_text()
    assert re.findall(r"Kept as they came, not unlearned: `(.*)`", card) == others
    predicted = load_file(next(done.folder.glob("references-*.safetensors")))["original logits"]
    assert torch.allclose(predicted, logits_of(model, tmp_path / "pets"), atol=1e-4)

    (line,) = re.findall(r"load it .*`(.*)`$", (done.folder / "MODEL_CARD.md").read_text(), re.MULTILINE)
    monkeypatch.chdir(done.folder)
    names: dict[str, Any] = {"model": model}
    exec(line, names)
    after = model.state_dict()
    assert load_file("unlearned.safetensors").keys() == before.keys()
    assert any(not torch.equal(tensor, before[name]) for name, tensor in after.items())
    predicted = load_file("predictions.safetensors")["logits"]
    assert torch.allclose(predicted, logits_of(model, tmp_path / "pets"), atol=1e-4)
    proof(done, tmp_path / "delete.txt", own)
    assert done.results["checkpoint"]["tensors"] == len(before) - (kind == "lightning")
