"""Requests that cannot be met: exit code 1, one line with the setting that it is about, and nothing half-written."""

import json
import pickle
import socket
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.command_line import FAST, Done, names, runs
from tests.conftest import composed
from unlearning import pipeline
from unlearning.engine.job import Job
from unlearning.errors import UserError

Refused = Callable[..., UserError]

BASE = ("tracking=none", "pretrain.epochs=1")
FINETUNE = ("method=finetune", "method.epochs=1")
RANDOM = "scenario=random"


@pytest.mark.parametrize(
    ("words", "key", "kind"),
    [
        # found as the configuration is composed; the others are in test_composition_errors.py
        (["method=scrubb"], "method", "choice"),
        (["seed=zero"], "seed", "value"),
        (["dataset=image_folder"], "dataset.root", "missing"),
        (["addon=[l1,sam,l1]"], "addon", "value"),
        # options of what is built
        (["+method.epoch=3"], "method.epoch", "key"),
        (["+pretrain.stream=retain"], "pretrain.stream", "key"),
        (["+evaluation.accuracy.bogus=1"], "evaluation.accuracy.bogus", "key"),
        (["+tracking.bogus=1"], "tracking.bogus", "key"),
        (["+trainer.max_epochs=9"], "trainer.max_epochs", "key"),
        (["+trainer.logger=true"], "trainer.logger", "key"),
        (["method.epochs=many"], "method.epochs", "value"),
        (["method.epochs=2.0"], "method.epochs", "value"),
        (["method.epochs=0"], "method.epochs", "value"),
        (["method.optimizer.lr=fast"], "method.optimizer.lr", "value"),
        (["method.optimizer.lr=inf"], "method.optimizer.lr", "value"),
        (["method.optimizer.lr=-1"], "method.optimizer", "value"),
        (["method.batch_norm=off"], "method.batch_norm", "value"),
        (["method=jit", "method.sigma=nan"], "method.sigma", "value"),
        (["model=mlp", "model.hidden=[4,0]"], "model.hidden", "value"),
        (["evaluation=full", "evaluation.svc_membership.limit=-5"], "evaluation.svc_membership.limit", "value"),
        (["addon=[l1]", "addon.l1.weight=-1"], "addon.l1.weight", "value"),
        (["evaluation.accuracy=3"], "evaluation.accuracy", "value"),
        (["method._target_=no.such.Thing"], "method._target_", "value"),
        (["method._target_=3"], "method._target_", "value"),
        (["method=scrub", "method.forget_until=9"], "method.msteps", "conflict"),
        (["method=scrub", "method.msteps=null"], "method.msteps", "conflict"),
        # what is forgotten
        (["scenario.classes=3"], "scenario.classes", "value"),
        (["scenario.classes=[]"], "scenario.classes", "value"),
        (["scenario.classes=[four_]"], "scenario.classes", "choice"),
        (["scenario.classes=[10]"], "scenario.classes", "choice"),
        (["scenario.classes=[0,1,2,3,4,5,6,7,8,9]"], "scenario", "value"),
        (["scenario.count=1000"], "scenario.count", "value"),
        (["scenario.fraction=1.5"], "scenario.fraction", "value"),
        (["scenario.fraction=0.5", "scenario.count=5"], "scenario.count", "conflict"),
        ([RANDOM, "scenario.count=0"], "scenario.count", "value"),
        ([RANDOM, "scenario.count=5000"], "scenario.count", "value"),
        ([RANDOM, "scenario.count=1293"], "scenario", "value"),
        ([RANDOM, "scenario.fraction=0.0001"], "scenario.fraction", "value"),
        (["split.validation=1.5"], "split.validation", "value"),
        # files and places
        (["dataset=image_folder", "dataset.root=/nowhere"], "dataset.root", "file"),
        (["dataset=image_folder", "dataset.root=3"], "dataset.root", "value"),
        (["scenario=saved", "scenario.file=/nowhere"], "scenario.file", "file"),
        (["pretrain.checkpoint=/nowhere/x.pt"], "pretrain.checkpoint", "file"),
        (["paths.runs=/dev/null/x"], "paths.runs", "storage"),
        (["tracking=sqlite", "tracking.uri=file:///x"], "tracking.uri", "value"),
        (["tracking=sqlite", "tracking.uri=sqlite:////dev/null/x.db"], "tracking.uri", "storage"),
        (["tracking=sqlite", "tracking.experiment="], "tracking.experiment", "value"),
        # where the run computes
        (["trainer.devices=abc"], "trainer.devices", "value"),
        (["trainer.devices=1.5"], "trainer.devices", "value"),
        (["trainer.devices=-1"], "trainer.devices", "value"),
        (["trainer.devices=[a]"], "trainer.devices", "value"),
        (["trainer.devices=[0,0]"], "trainer.devices", "value"),
        (["trainer.devices=2"], "trainer.devices", "value"),
        (["+trainer.accumulate_grad_batches=0"], "trainer.accumulate_grad_batches", "value"),
        # found as a model is trained
        (["pretrain.forget_weight=2.0"], "pretrain.forget_weight", "value"),
        (["method=neggrad_plus", RANDOM, "scenario.count=1"], "method.batch_size", "value"),
    ],
)
def test_what_cannot_be_done_is_one_line(words: list[str], key: str, kind: str, refused: Refused) -> None:
    error = refused(*BASE, *words)
    assert (error.key, error.kind) == (key, kind)


@pytest.mark.parametrize(
    ("words", "key", "kind"),
    [
        (["method=unsir", "+method.epochs=3"], "method.epochs", "key"),
        (["method=ssd", "+trainer.gradient_clip_val=1.0"], "trainer.gradient_clip_val", "conflict"),
        (
            ["method=neggrad_plus", "addon=[focus]", "+trainer.accumulate_grad_batches=4"],
            "trainer.accumulate_grad_batches",
            "conflict",
        ),
        (["method=neggrad_plus", "addon=[focus]", "trainer.precision=16-mixed"], "trainer.precision", "conflict"),
        (["method=ntk", "method.retain_share=1.0"], "method.memory_gib", "value"),
        (["method=emmn", RANDOM], "scenario", "conflict"),
        ([*FINETUNE, "method.forget_weight=0.5"], "method.forget_weight", "value"),
        (["method=gradient_ascent", "method.retain_weight=2.0"], "method.retain_weight", "value"),
    ],
)
def test_what_a_method_refuses_is_known_before_anything_is_trained(
    words: list[str], key: str, kind: str, refused: Refused, tmp_path: Path
) -> None:
    error = refused(*BASE, *words, f"paths.store={tmp_path}/store")
    assert (error.key, error.kind) == (key, kind)
    assert not (tmp_path / "store").exists()
    assert not runs(tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there(refused: Refused) -> None:
    assert refused(*BASE, "trainer=gpu").key == "trainer"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["method.epochs=many"], "method.epochs=many: input should be a valid integer"),
        (["+trainer.logger=true"], "trainer.logger is set by the program and cannot be overridden; remove it"),
        (["scenario.classes=3"], "scenario.classes=3: input should be a list: write [3]"),
        (["scenario.classes=[four_]"], "dataset digits has no class 'four_': did you mean four?"),
        (
            ["scenario.fraction=0.5", "scenario.count=5"],
            "scenario.count and scenario.fraction are both given: choose one (set the other to null)",
        ),
        (["pretrain.checkpoint=/nowhere/x.pt"], "pretrain.checkpoint=/nowhere/x.pt: there is no such file"),
        (
            ["trainer.devices=2"],
            (
                "trainer.devices=2 is 2 processes: start them by torchrun --nproc-per-node=2 run.py trainer=ddp ..., "
                "or set trainer.devices=1"
            ),
        ),
    ],
)
def test_what_is_said(words: list[str], message: str, refused: Refused) -> None:
    assert str(refused(*BASE, *words)) == message


# A user's own model


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return Job.of(composed()[0]).network()


def test_a_checkpoint_of_another_shape_or_kind(refused: Refused, network: nn.Module, tmp_path: Path) -> None:
    file, state = tmp_path / "own.pt", network.state_dict()
    head = list(state)[-1]

    def said(content: object) -> str:
        torch.save(content, file)
        error = refused(*BASE, f"pretrain.checkpoint={file}")
        assert (error.key, error.kind) == ("pretrain.checkpoint", "file" if content is network else "conflict")
        return str(error)

    assert f"{head} has shape (7,), the model wants (10,)" in said(state | {head: torch.zeros(7)})
    assert f"the model has {head} (10,) (1 in all)" in said({n: tensor for n, tensor in state.items() if n != head})
    assert "the file has extra (1,) (1 in all)" in said(state | {"extra": torch.zeros(1)})
    assert "a pickled model" in said(network)


@pytest.mark.parametrize("content", [b"garbage", pickle.dumps({"a": 1}, protocol=4)])
def test_a_checkpoint_that_torch_cannot_read(content: bytes, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "own.pt").write_bytes(content)
    error = refused(*BASE, f"pretrain.checkpoint={tmp_path}/own.pt")
    assert (error.key, error.kind) == ("pretrain.checkpoint", "file")


# Numbers that are not finite


def test_an_original_model_that_is_of_no_use_is_not_blamed_on_the_method(
    refused: Refused, network: nn.Module, tmp_path: Path
) -> None:
    store = f"paths.store={tmp_path}/store"
    error = refused("tracking=none", store, "debug=fast", "pretrain.optimizer.lr=1e30")
    assert (error.key, error.kind) == ("pretrain.optimizer.lr", "diverged")
    file = tmp_path / "model.safetensors"
    state = {name: (tensor * torch.nan).contiguous() for name, tensor in network.state_dict().items()}
    save_file(state, file)
    error = refused(*BASE, f"pretrain.checkpoint={file}")
    assert (error.key, error.kind) == ("pretrain.checkpoint", "diverged")


def test_a_diverged_run_is_marked_as_failed_and_can_be_run_again(refused: Refused, tmp_path: Path) -> None:
    error = refused(*FAST, "method.optimizer.lr=1e30")
    assert (error.key, error.kind) == ("method.optimizer.lr", "diverged")
    assert "FineTune" in str(error)
    (folder,) = runs(tmp_path)
    assert (folder / "FAILED").read_text().strip() == str(error)
    assert str(refused(*FAST, "method.optimizer.lr=1e30")) == str(error)


def test_finite_weights_with_predictions_that_are_not_are_no_result(refused: Refused) -> None:
    error = refused(*BASE, "method=wood_fisher", "method.damping=1e-12")
    assert error.kind == "diverged"


# Records of runs that fail


def test_a_refused_repetition_costs_no_result(command: Callable[..., Done], refused: Refused, tmp_path: Path) -> None:
    folder = command(*FAST).folder
    before = names(folder)
    error = refused(*FAST, "force=true", "tracking=sqlite", "tracking.uri=sqlite:////dev/null/x.db")
    assert error.key == "tracking.uri"
    assert names(folder) == before


def test_how_a_run_was_made_is_on_disk_from_its_start_and_stays_if_it_fails(
    command: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_start = []

    def fail(*_: object) -> None:
        (folder,) = runs(tmp_path)
        at_start.append((folder / "provenance.json").read_text())
        (folder / "half.bin").touch()
        raise RuntimeError("out of luck")

    words = [*FAST, "method.epochs=2"]
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "results", fail)
        with pytest.raises(RuntimeError, match="luck"):  # a mistake of the program is not caught
            command(*words)
    (folder,) = runs(tmp_path)
    assert names(folder) == {"FAILED", "log.txt", "provenance.json"}
    assert (folder / "FAILED").read_text() == "RuntimeError: out of luck\n"
    assert "Traceback" in (folder / "log.txt").read_text()
    assert [(folder / "provenance.json").read_text()] == at_start
    found = json.loads(at_start[0])
    assert found["config"]["method"]["epochs"] == 2
    assert found["run_key"].startswith(folder.name.rpartition("-")[2])
    assert found["versions"]["torch"] == version("torch")
    assert found["command"].endswith("method.epochs=2")
    done = command(*words)  # it is not taken for finished
    assert (done.code, done.folder) == (0, folder)
    assert {"DONE", "results.json"} <= names(folder)
    assert "FAILED" not in names(folder)
    monkeypatch.setattr(pipeline, "results", fail)
    assert command(*words) == done  # and now it is


def test_a_mistake_in_the_request_is_not_a_failed_run(refused: Refused, tmp_path: Path) -> None:
    refused(*BASE, "scenario.classes=[99]")
    assert not runs(tmp_path)


def test_a_data_set_that_can_be_neither_found_nor_downloaded_is_asked_for_by_its_files(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    error = refused(*BASE, "dataset=cifar100")
    assert error.kind == "file"
    assert f"{tmp_path}/data" in str(error)
    assert "cifar-100-python.tar.gz" in str(error)
