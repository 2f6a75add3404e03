"""Files of weights as users have them: every form is read, names are matched, and what cannot be right is refused."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from unlearning.errors import UserError
from unlearning.models.checkpoint_files import read_state
from unlearning.models.checkpoints import load_checkpoint
from unlearning.models.from_timm import TimmModel
from unlearning.models.from_torchvision import TorchvisionModel
from unlearning.models.guess import guessed
from unlearning.models.naming import Naming
from unlearning.models.resnet import ResNet
from unlearning.models.small_cnn import SmallCNN
from unlearning.runtime.digests import content_digest

State = dict[str, Tensor]
SHAPE = (3, 8, 8)


def network(seed: int = 1) -> SmallCNN:
    torch.manual_seed(seed)
    return SmallCNN(SHAPE, 3)


def prefixed(*before: str) -> Callable[[State], State]:
    return lambda state: {"".join(before) + name: tensor for name, tensor in state.items()}


FORMS: dict[str, Callable[[State], Any]] = {
    "plain": lambda state: state,
    **{name: lambda state, name=name: {name: state, "epoch": 3, "loss": 0.5} for name in ("state_dict", "model")},
    **{name: lambda state, name=name: {"optimizer": {"lr": 0.1}, name: state} for name in ("model_state", "net")},
    "model_state_dict": lambda state: {"model_state_dict": state, "optimizer_state_dict": {"state": {}, "groups": []}},
    "another name": lambda state: {"classifier_weights": state, "classes": ["a"]},
    "twice": lambda state: {"model": {"state_dict": state}, "args": {"lr": 1}},
    **{before: prefixed(before) for before in ("module.", "_orig_mod.", "network.", "model.", "backbone.")},
    "combined": prefixed("model.", "module.", "_orig_mod."),
    "compiled below": lambda state: {f"net._orig_mod.{name}": tensor for name, tensor in state.items()},
    "DataParallel": lambda state: nn.DataParallel(loaded(state)).state_dict(),
    "with a loss": lambda state: {**prefixed("model.")(state), "criterion.weight": torch.tensor([1.0, 2.0, 3.0])},
    "of a training script": lambda state: {"model": state, "args": argparse.Namespace(lr=0.1, name="x"), "epoch": 3},
    "without counters": lambda state: {n: t for n, t in state.items() if not n.endswith("num_batches_tracked")},
    "kept variables": lambda state: {name: nn.Parameter(t, False) for name, t in state.items()},
}


def loaded(state: State) -> nn.Module:
    found = network(0)
    found.load_state_dict(state)
    return found


def check(file: Path, state: State) -> Naming:
    """Assert that a file gives a new network the weights of ``state``; returns how it names them."""
    other = network(2)
    naming = load_checkpoint(other, str(file))
    found = other.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
    return naming


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_and_comes_out_under_its_own_names(form: str, tmp_path: Path) -> None:
    state = network().state_dict()
    content = FORMS[form](state)
    torch.save(content, tmp_path / "own.pt")
    naming = check(tmp_path / "own.pt", state)
    stored = content
    for name in naming.inside:
        stored = stored[name]
    changed = naming.written({name: 2 * tensor for name, tensor in state.items()})
    assert changed.keys() == stored.keys()
    for name, tensor in changed.items():
        assert torch.equal(tensor, stored[name] if name == "criterion.weight" else 2 * stored[name])
    assert naming.about is not None
    assert naming.about["sha256"] == content_digest(tmp_path / "own.pt")


@pytest.mark.parametrize(("others", "said"), [(("model_ema", "net"), 1), ((), 0)])
def test_other_copies_beside_the_one_that_is_read_are_told(
    others: tuple[str, ...], said: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state, copy = network().state_dict(), network(3).state_dict()
    torch.save({"model": state, "optimizer": {"state": {}}} | dict.fromkeys(others, copy), tmp_path / "own.pt")
    check(tmp_path / "own.pt", state)
    assert len(caplog.messages) == said
    assert all(other in message for other in others for message in caplog.messages)


def test_tensors_that_are_not_the_networks_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = network().state_dict()
    torch.save({f"encoder.{name}": t for name, t in state.items()} | {"queue": torch.ones(9, 4)}, tmp_path / "own.pt")
    check(tmp_path / "own.pt", state)
    (message,) = caplog.messages
    assert message.endswith("not unlearned: queue")


@pytest.mark.parametrize("prefix", ["", "module.", "model._orig_mod."])
def test_safetensors_whole_and_in_shards(prefix: str, tmp_path: Path) -> None:
    state = network().state_dict()
    stored = prefixed(prefix)({name: tensor.contiguous() for name, tensor in state.items()})
    save_file(stored, tmp_path / "whole.safetensors")
    check(tmp_path / "whole.safetensors", state)
    names = sorted(stored)
    files = {name: f"model-{number % 2}.safetensors" for number, name in enumerate(names)}
    for file in set(files.values()):
        save_file({name: stored[name] for name in names if files[name] == file}, tmp_path / file)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": files}))
    assert check(index, state).written(state).keys() == stored.keys()
    before = content_digest(index)
    save_file({"x": torch.ones(1)}, tmp_path / "model-0.safetensors")
    assert content_digest(index) != before  # so that the key of a run follows the shards
    (tmp_path / "model-1.safetensors").unlink()
    with pytest.raises(UserError, match=r"no model-1\.safetensors"):
        read_state(index, "pretrain.checkpoint")
    index.write_text(json.dumps({"weight_map": {"x": "../own.safetensors"}}))
    with pytest.raises(UserError):
        read_state(index, "pretrain.checkpoint")


def test_a_single_shard_is_refused_with_the_name_of_the_index(tmp_path: Path) -> None:
    state = {name: tensor.contiguous() for name, tensor in network().state_dict().items()}
    save_file(state, tmp_path / "model-00001-of-00002.safetensors")
    with pytest.raises(UserError, match=r"model\.safetensors\.index\.json"):
        read_state(tmp_path / "model-00001-of-00002.safetensors", "pretrain.checkpoint")
    save_file(state, tmp_path / "model-00001-of-00001.safetensors")  # which is whole
    check(tmp_path / "model-00001-of-00001.safetensors", network().state_dict())


class Lit(L.LightningModule):
    """A user's module of Lightning."""

    def __init__(self, rate: float = 0.1, tool: Any = None) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.backbone = network()
        self.loss = nn.CrossEntropyLoss(weight=torch.ones(3))

    def training_step(self, batch: Any) -> Tensor:
        loss: Tensor = self.loss(self.backbone(batch[0]), batch[1])
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), self.hparams["rate"])


def lightning_file(module: Lit, file: Path) -> None:
    trainer = L.Trainer(
        accelerator="cpu", max_steps=1, logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(module, DataLoader(TensorDataset(torch.rand(2, *SHAPE), torch.tensor([0, 1])), 2))
    trainer.save_checkpoint(file)


def test_a_checkpoint_of_lightning(tmp_path: Path) -> None:
    module = Lit()
    lightning_file(module, tmp_path / "own.ckpt")
    naming = check(tmp_path / "own.ckpt", module.backbone.state_dict())
    assert (naming.prefix, naming.inside, [*naming.rest]) == ("backbone.", ("state_dict",), ["loss.weight"])
    Lit().load_state_dict(naming.written(module.backbone.state_dict()))


class Tool:
    """A class of the user's, whose objects are pickled."""


def test_what_would_have_to_be_unpickled_is_refused(tmp_path: Path) -> None:
    torch.save(network(), tmp_path / "whole.pt")
    torch.save({"state_dict": network().state_dict(), "tool": Tool()}, tmp_path / "own.ckpt")
    (tmp_path / "text.pt").write_text("weights")
    torch.save({"epoch": 1}, tmp_path / "none.pt")
    torch.save({"a": network().state_dict(), "b": network().state_dict()}, tmp_path / "two.pt")
    for name in ("whole.pt", "own.ckpt", "text.pt", "none.pt", "two.pt", "missing.pt"):
        with pytest.raises(UserError) as caught:
            load_checkpoint(network(), str(tmp_path / name))
        assert (caught.value.key, caught.value.kind) == ("pretrain.checkpoint", "file"), name


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_another_precision_is_converted_and_said(
    kind: torch.dtype, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = {n: t.to(kind) if t.is_floating_point() else t for n, t in network().state_dict().items()}
    torch.save(state, tmp_path / "own.pt")
    other = network(2)
    load_checkpoint(other, str(tmp_path / "own.pt"))
    assert all(torch.equal(tensor, state[name].to(tensor.dtype)) for name, tensor in other.state_dict().items())
    assert {p.dtype for p in other.parameters()} == {torch.float32}
    (record,) = caplog.records
    assert str(kind).removeprefix("torch.") in record.getMessage()


@pytest.mark.parametrize("content", [3, {"a": 1, "b": 2.5}, {"state_dict": 5}, "meta"])
def test_what_holds_no_numbers_is_refused(content: Any, tmp_path: Path) -> None:
    if content == "meta":
        content = {name: tensor.to("meta") for name, tensor in network().state_dict().items()}
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(UserError) as caught:
        read_state(tmp_path / "model.pt", "pretrain.checkpoint")
    assert (caught.value.key, caught.value.kind) == ("pretrain.checkpoint", "file")


def test_several_copies_of_the_network_are_refused(tmp_path: Path) -> None:
    torch.save(prefixed("model.")(network().state_dict()) | prefixed("ema.")(network().state_dict()), tmp_path / "a.pt")
    with pytest.raises(UserError) as caught:
        load_checkpoint(network(), str(tmp_path / "a.pt"))
    assert caught.value.kind == "conflict"
    assert "'ema.', 'model.'" in str(caught.value)


def test_names_that_do_not_fit_are_shown_on_both_sides_with_a_guess(tmp_path: Path) -> None:
    torch.save(prefixed("module.")(torchvision.models.resnet18(num_classes=3).state_dict()), tmp_path / "own.pt")
    with pytest.raises(UserError) as caught:
        load_checkpoint(ResNet(SHAPE, 3, [2, 2, 2, 2]), str(tmp_path / "own.pt"))
    said = str(caught.value)
    assert caught.value.kind == "conflict"
    assert "\n" not in said
    for part in (
        "module.conv1.weight (64, 3, 7, 7)",
        "stem.0.weight (64, 3, 3, 3)",
        "model=torchvision model.name=resnet18",
    ):
        assert part in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "name"), [("torchvision", "resnet34"), ("torchvision", "vgg11_bn"), ("timm", "vit_tiny_patch16_224")]
)
def test_the_best_guess(library: str, name: str) -> None:
    with torch.device("meta"):
        made = (timm.create_model if library == "timm" else torchvision.models.get_model)(name, num_classes=5)
    assert guessed(prefixed("model.")(made.state_dict())) == (library, name)


def test_no_guess_for_what_no_library_has() -> None:
    assert guessed(network().state_dict()) == ("", "")


@pytest.mark.slow
def test_no_guess_for_another_member_of_a_family() -> None:
    assert guessed({"layer1.0.conv1.weight": torch.ones(1)}) == ("", "")


def test_a_head_of_other_classes_is_told_by_its_shapes(tmp_path: Path) -> None:
    torch.save(SmallCNN(SHAPE, 5).state_dict(), tmp_path / "own.pt")
    with pytest.raises(UserError) as caught:
        load_checkpoint(network(), str(tmp_path / "own.pt"))
    assert caught.value.kind == "conflict"
    assert "dataset.classes" in str(caught.value)


# Networks of torchvision


def test_weights_of_torchvision_and_timm_load_as_they_are(tmp_path: Path) -> None:
    images = torch.rand(2, 3, 32, 32)
    for theirs, ours in (
        (torchvision.models.shufflenet_v2_x0_5(num_classes=4), TorchvisionModel((3, 32, 32), 4, "shufflenet_v2_x0_5")),
        (timm.create_model("test_resnet", num_classes=4), TimmModel((3, 32, 32), 4, "test_resnet")),
    ):
        torch.save(theirs.state_dict(), tmp_path / "own.pt")
        naming = load_checkpoint(ours, str(tmp_path / "own.pt"))
        assert naming.written(ours.state_dict()).keys() == theirs.state_dict().keys()
        assert torch.equal(ours.eval()(images), theirs.eval()(images))


@pytest.mark.slow
def test_torchvision_of_a_fixed_size() -> None:
    assert TorchvisionModel((3, 32, 32), 4, "vit_b_16").network.image_size == 32


def test_torchvision_resized_and_grey() -> None:
    resized = TorchvisionModel((1, 8, 8), 4, "squeezenet1_1", resize=32).eval()
    grey = torch.rand(2, 1, 8, 8)
    large = nn.functional.interpolate(grey.repeat(1, 3, 1, 1), size=(32, 32), mode="bilinear")
    assert torch.allclose(resized(grey), resized.network(large), atol=1e-6)


@pytest.mark.parametrize(
    ("make", "key", "kind"),
    [
        (lambda: TorchvisionModel(SHAPE, 3, "resnet19"), "model.name", "choice"),
        (lambda: TorchvisionModel((4, 8, 8), 3, "resnet18"), "model.name", "conflict"),
        (lambda: TorchvisionModel((30,), 3, "resnet18"), "model", "conflict"),
        (lambda: TorchvisionModel(SHAPE, 3, "squeezenet1_0"), "model.resize", "value"),
    ],
)
def test_what_torchvision_does_not_have_is_refused(make: Callable[[], nn.Module], key: str, kind: str) -> None:
    with pytest.raises(UserError) as caught:
        make()
    assert (caught.value.key, caught.value.kind) == (key, kind)


def test_a_file_that_lacks_nothing_is_not_said_to_lack_nothing(tmp_path: Path) -> None:
    torch.save(network().state_dict() | {"features.extra": torch.ones(2)}, tmp_path / "own.pt")
    with pytest.raises(UserError, match=r"features\.extra") as caught:
        load_checkpoint(network(), str(tmp_path / "own.pt"))
    assert "the file lacks" not in str(caught.value)
