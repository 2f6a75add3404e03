"""Image classifiers of Hugging Face by local folder: as their library computes, with the names of their files."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from unlearning.config.build import Spec
from unlearning.data.class_order import class_order
from unlearning.errors import UserError
from unlearning.models.base import blocks_of
from unlearning.models.checkpoints import load_checkpoint
from unlearning.models.from_huggingface import inside
from unlearning.records.card import loads

SIDE, CLASSES = 16, 4
Folder = Callable[[str], Path]


def built(folder: Path, shape: tuple[int, ...] = (3, SIDE, SIDE), **options: Any) -> nn.Module:
    node = {"_target_": "unlearning.models.from_huggingface.HuggingFaceModel", "path": str(folder), **options}
    return Spec("model", node).build(input_shape=shape, num_classes=CLASSES)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A function that saves a small classifier, a transformer or a ResNet, as users have it."""
    library = pytest.importorskip("transformers")
    configs = {
        "vit": library.ViTConfig(
            hidden_size=8,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=8,
            image_size=SIDE,
            patch_size=8,
        ),
        "resnet": library.ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic"),
    }

    def saved(name: str) -> Path:
        configs[name].num_labels = CLASSES
        torch.manual_seed(3)
        library.AutoModelForImageClassification.from_config(configs[name]).save_pretrained(tmp_path / name)
        return tmp_path / name

    return saved


@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_it_computes_what_the_library_does_from_its_file(name: str, folder: Folder, tmp_path: Path) -> None:
    import transformers

    theirs = transformers.AutoModelForImageClassification.from_pretrained(folder(name)).eval()
    network = built(folder(name))
    naming = load_checkpoint(network, str(tmp_path / name / "model.safetensors"))
    images = torch.rand(2, 3, SIDE, SIDE)
    assert torch.equal(network.eval()(images), theirs(images).logits)
    grey = images[:, :1]
    assert torch.equal(network(grey), theirs(grey.expand(-1, 3, -1, -1)).logits)
    assert set(naming.written(network.state_dict())) == set(load_file(tmp_path / name / "model.safetensors"))


@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_what_comes_out_is_read_by_one_line(name: str, folder: Folder, tmp_path: Path, monkeypatch: Any) -> None:
    network = built(folder(name))
    naming = load_checkpoint(network, str(tmp_path / name / "model.safetensors"))
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(2)
    save_file(naming.written(network.state_dict()), tmp_path / "unlearned.safetensors")
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(loads(*network.reads), found)
    images = torch.rand(2, 3, SIDE, SIDE)
    assert torch.equal(found["model"].eval()(pixel_values=images).logits, network.eval()(images))
    assert naming.reads == (network.reads if name == "vit" else ())  # of the ResNet any line does


def test_names_in_memory_are_read_too(folder: Folder, tmp_path: Path) -> None:
    import transformers

    theirs = transformers.AutoModelForImageClassification.from_pretrained(folder("vit"))
    torch.save(theirs.state_dict(), tmp_path / "own.pt")
    naming = load_checkpoint(network := built(folder("vit")), str(tmp_path / "own.pt"))
    assert naming.reads == ()  # the line that loads any state dict
    assert set(naming.written(network.state_dict())) == set(theirs.state_dict())


@pytest.mark.parametrize(("name", "count"), [("vit", 4), ("resnet", 4)])
def test_blocks_hold_every_parameter_once(name: str, count: int, folder: Folder) -> None:
    """Of the transformer: embeddings, two layers (the last with the norm after it), head; of the ResNet: two stages."""
    network = built(folder(name))
    blocks = blocks_of(network)
    held = [id(p) for block in blocks for p in block.parameters()]
    assert len(blocks) == count
    assert sorted(held) == sorted(id(p) for p in network.parameters())


def test_what_does_not_work_is_said_in_one_line(folder: Folder, tmp_path: Path) -> None:
    refused = {}
    for path, shape in ((tmp_path, (3, SIDE, SIDE)), (folder("vit"), (3, 8, 8)), (folder("vit"), (2, SIDE, SIDE))):
        with pytest.raises(UserError) as error:
            built(path, shape)
        refused[path.name, shape] = error.value.key
        assert "\n" not in str(error.value)
    assert list(refused.values()) == ["model.path", "model.resize", "model.path"]
    assert built(folder("vit"), (3, 8, 8), resize=SIDE)(torch.rand(1, 3, 8, 8)).shape == (1, CLASSES)
    (tmp_path / "vit" / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(UserError) as error:
        built(tmp_path / "vit")
    assert error.value.key == "model.path"


def test_without_the_library_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError) as error:
        built(tmp_path)
    assert (error.value.key, error.value.kind) == ("model", "missing")


def test_lists_of_layers_are_opened_to_any_depth() -> None:
    class Base(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.encoder = nn.Linear(1, 1), nn.Module()
            self.encoder.layers = nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1)])

    network = nn.Module()
    network.base, network.head = Base(), nn.Linear(1, 1)
    assert list(inside(network)) == [network.base.stem, network.base.encoder.layers, network.head]


def test_the_order_of_classes_is_that_of_the_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit", "id2label": {"1": "a", "0": "b", "2": "c"}}))
    assert class_order(["a", "b"], str(tmp_path / "config.json")) == ("b", "a", "c")
