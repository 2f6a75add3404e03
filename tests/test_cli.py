"""The command line as its users meet it: what it prints, its exit code, and what it leaves behind."""

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import IO

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import composed
from unlearning import cli, pipeline
from unlearning.config import build
from unlearning.config.schema import ROOT, run_key
from unlearning.errors import nearest

FAST = ["tracking=none", "pretrain.epochs=1", "method=finetune", "method.epochs=1"]


@pytest.fixture
def command(places: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Call the command line in this process: (exit code, stdout, stderr)."""

    def call(*arguments: str) -> tuple[int, str, str]:
        flags = [a for a in arguments if a.startswith("-")]
        rest = [a for a in arguments if not a.startswith("-")]
        monkeypatch.setattr(sys, "argv", ["run.py", *flags, *places, *rest])
        capsys.readouterr()
        try:
            code = cli.main()
        except SystemExit as exit:
            code = int(exit.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def results(out: str) -> dict:
    """The results whose path is the last line on the screen."""
    return json.loads(Path(out.strip().splitlines()[-1]).read_text())


def runs(tmp_path: Path) -> list[Path]:
    return [p for p in (tmp_path / "multirun").glob("*") if not p.name.startswith(".")]


def test_a_run_leaves_all_its_records(command, tmp_path: Path) -> None:
    code, out, _ = command(*FAST)
    assert code == 0
    assert "original" in out
    assert "retrained" in out
    found = results(out)
    assert set(found["rows"]) == {"original", "retrained", "unlearned"}
    for name in ("forget/acc", "retain/acc", "test/acc", "mia/loss_auc", "cost/seconds"):
        assert name in found["rows"]["unlearned"]
    assert found["gaps"]["gap/forget/acc"] == pytest.approx(
        found["rows"]["unlearned"]["forget/acc"] - found["rows"]["retrained"]["forget/acc"]
    )
    assert {"run_key", "command", "config", "versions", "git", "cost", "failed"} <= found.keys()
    assert found["config"]["method"]["epochs"] == 1
    assert found["cost"]["cost/forward"] == found["sizes"]["retain"]  # of the method alone, not of its evaluation
    (folder,) = runs(tmp_path)
    assert {f.name for f in folder.iterdir()} == {
        *("results.json", "summary.png", "split.safetensors", "predictions.safetensors"),
        *("unlearned.safetensors", "MODEL_CARD.md", "curves.json", "provenance.json", "DONE"),
    }
    provenance = json.loads((folder / "provenance.json").read_text())
    assert {key: found[key] for key in provenance} == provenance
    assert found["data"]["split"] in (folder / "MODEL_CARD.md").read_text()


def test_a_finished_run_is_not_repeated_unless_forced(command, tmp_path: Path) -> None:
    _, out, _ = command(*FAST)
    (folder,) = runs(tmp_path)
    stamp = (folder / "results.json").stat().st_mtime_ns
    _, again, _ = command(*FAST)
    assert again == out
    assert (folder / "results.json").stat().st_mtime_ns == stamp
    command(*FAST, "force=true")
    assert (folder / "results.json").stat().st_mtime_ns > stamp


def without_cost(found: dict) -> dict:
    return {
        row: {k: v for k, v in values.items() if not k.startswith("cost/")} for row, values in found["rows"].items()
    }


@pytest.mark.parametrize("method", ["scrub", "ssd", "jit", "retrain"])
def test_the_same_command_gives_bit_equal_results(method: str, command, tmp_path: Path) -> None:
    arguments = [*FAST, f"method={method}", f"paths.store={tmp_path}/one"]
    arguments.remove("method.epochs=1")
    _, out, _ = command(*arguments)
    first, weights = results(out), load_file(runs(tmp_path)[0] / "unlearned.safetensors")
    _, out, _ = command(*arguments, "force=true", f"paths.store={tmp_path}/two")  # models trained anew, too
    second = results(out)
    assert without_cost(first) == without_cost(second)
    assert first["weights"] == second["weights"]
    again = load_file(runs(tmp_path)[0] / "unlearned.safetensors")
    assert all(torch.equal(tensor, again[name]) for name, tensor in weights.items())


def test_the_key_is_of_what_decides_the_result(tmp_path: Path) -> None:
    key = run_key(composed()[0])
    assert run_key(composed(f"paths.root={tmp_path}", "trainer=gpu", "tracking=none", "force=true")[0]) == key
    changes = ["seed=1", "method.epochs=7", "addon=[l1]", "scenario.classes=[4]", "pretrain.epochs=3"]
    changes += ["retrained=false", "split.validation=0.2", "evaluation=full", "model=resnet9", "dataset=mnist"]
    changes += ["trainer.precision=bf16-mixed"]
    assert len({key, *(run_key(composed(change)[0]) for change in changes)}) == len(changes) + 1


def test_retraining_as_a_method_is_another_draw_than_the_reference(command) -> None:
    """Its gaps are the noise floor: not zero by construction."""
    _, out, _ = command("tracking=none", "pretrain.epochs=1", "method=retrain")
    assert results(out)["rows"]["unlearned"]["distance/js_test"] > 0


def test_passes_of_an_addon_are_counted(command) -> None:
    _, out, _ = command(*FAST, "addon=[saliency]")
    found = results(out)
    assert found["cost"]["cost/forward"] == found["sizes"]["retain"] + found["sizes"]["forget"]


def test_the_key_follows_the_content_of_own_data(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "train" / "cat").mkdir(parents=True)
        (tmp_path / name / "train" / "cat" / f"{name}.png").touch()
    own = ["dataset=image_folder", "dataset.name=pets"]
    assert run_key(composed(*own, f"dataset.root={tmp_path}/one")[0]) != run_key(
        composed(*own, f"dataset.root={tmp_path}/two")[0]
    )


# A user's own model


def test_an_own_model_goes_in_and_comes_out(command, tmp_path: Path) -> None:
    config, _ = composed()
    torch.manual_seed(1)
    network = build.model(config, build.dataset(config))
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, tmp_path / "own.safetensors")
    torch.save(network.state_dict(), tmp_path / "own.pt")
    rows = []
    for file in ("own.safetensors", "own.pt"):
        own = [f"pretrain.checkpoint={tmp_path}/{file}", "retrained=false"]
        code, out, err = command("tracking=none", "method=original", *own)
        assert code == 0, err
        found = results(out)
        assert "retrained" not in found["rows"]
        assert found["gaps"] == {}
        assert not any(name.startswith("distance/") for name in found["rows"]["unlearned"])
        rows.append(without_cost(found))
    assert rows[0] == rows[1]
    unlearned = load_file(next((tmp_path / "multirun").glob("*/unlearned.safetensors")))
    assert all(torch.equal(tensor, unlearned[name]) for name, tensor in network.state_dict().items())


# Bad input: one clear line, exit code 1, no traceback, nothing half-written


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["method=unsir", "+method.epochs=3"], "method.epochs: unlearning.methods.unsir.UNSIR sets it itself"),
        (
            ["method=ssd", "+trainer.gradient_clip_val=1.0"],
            "trainer.gradient_clip_val=1.0 is for Lightning's own steps",
        ),
        (
            ["method=neggrad_plus", "addon=[focus]", "+trainer.accumulate_grad_batches=4"],
            "accumulate_grad_batches=4 is for Lightning's own steps, and NegGradPlus+Focus makes steps of its own",
        ),
        (["method=ntk", "method.retain_share=1.0"], "take a smaller model (model=mlp), a part of the retain set"),
    ],
)
def test_what_a_method_refuses_is_known_before_anything_is_trained(
    arguments: list[str], expected: str, command, tmp_path: Path
) -> None:
    code, _, err = command("tracking=none", f"paths.store={tmp_path}/store", *arguments)
    assert code == 1
    (line,) = err.strip().splitlines()
    assert expected in line
    assert not (tmp_path / "store").exists()


def bad(command, tmp_path: Path, *arguments: str) -> str:
    """The one line that a wrong command prints."""
    code, out, err = command(*FAST, *arguments)
    assert code == 1
    assert "Traceback" not in out + err
    lines = [line for line in err.splitlines() if line]
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    assert not [p for p in runs(tmp_path) if {f.name for f in p.iterdir()} != {"FAILED", "provenance.json"}]
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["method=scrubb"], "no method named 'scrubb': did you mean scrub, scrub_joint?"),
        (["addon=[l2]"], "no addon named 'l2'"),
        (["method=null"], "method=null: a group takes the names of its choices"),
        (["addon=null"], "for none write addon=[] or tracking=none"),
        (["addon=[l1, null]"], "addon=[l1, null]: a group takes the names"),
        (["tracking=none", "experiment=3"], "experiment=3: a group takes the names"),
        (["-m", "method=null,finetune"], "method=null,finetune: a group takes the names"),
        (["-m", "method=glob(zz*)"], "the sweep has no jobs"),
        (["-m", "seed=range(0,0)", "hydra/launcher=list"], "the sweep has no jobs"),
        (
            ["addon=[l1]", "addon.l1=null"],
            "addon.l1=None has no _target_: name the class or function that it builds, or leave it",
        ),
        (["evaluation.accuracy=3"], "evaluation.accuracy=3 has no _target_"),
        (["evaluation.accuracy=false"], "evaluation.accuracy=False has no _target_"),
        (["+evaluation.accuracy.bogus=1"], "Accuracy has no option 'bogus'"),
        (
            ["+tracking.bogus=1"],
            "tracking.bogus: unlearning.tracking.NoTracking has no option 'bogus': there is nothing",
        ),
        (["trainer.devices=abc"], "trainer.devices=abc is no number of processes"),
        (["trainer.devices=null"], "trainer.devices=None is no number of processes"),
        (["trainer.devices=1.5"], "trainer.devices=1.5 is no number of processes"),
        (
            ["+trainer.accumulate_grad_batches=0"],
            "trainer.accumulate_grad_batches=0 must be a whole number, at least 1",
        ),
        (["+forget_weight=3"], "no key 'forget_weight': choose from addon, dataset, evaluation, force, "),
        (["+epochs=3"], "no key 'epochs': did you mean pretrain.epochs, method.epochs?"),
        (["+trainer.max_epochs=9"], "trainer.max_epochs=9 would do nothing, for the program sets it: leave it out"),
        (["+trainer.logger=true"], "trainer.logger=True would do nothing"),
        (["+pretrain.stream=retain", "pretrain.seed=3"], "pretrain.stream=retain would do nothing"),
        (["method=jit", "method.sigma=nan"], "method.sigma=nan: input should be a finite number"),
        (["method.optimizer.lr=inf"], "method.optimizer.lr=inf: input should be a finite number"),
        (["model=mlp", "model.hidden=[4,0]"], "model.hidden=[4, 0] does not work: each layer has at least 1 unit"),
        (["model=vgg16", "model.hidden=[0]"], "model.hidden=[0] does not work: each layer has at least 1 unit"),
        (["model=resnet18", "model.width=0"], "model.width=0 does not work: it is at least 1"),
        (["model=resnet9", "model.width=0"], "model.width=0 does not work: it is at least 1"),
        (["model=wrn28_10", "model.width=-1"], "model.width=-1 does not work: it is at least 1"),
        (["model=timm", "model.resize=0"], "model.resize=0 does not work: it is a number of pixels"),
        (["evaluation=full", "evaluation.svc_membership.limit=-5"], "svc_membership.limit=-5 must be at least 1"),
        (["dataset=cifar"], "did you mean cifar"),
        (["scenario.classes=[four_]"], "dataset digits has no class 'four_': did you mean four"),
        (["scenario.classes=[10]"], "no class 10: numbers go from 0 to 9"),
        (["scenario.classes=[]"], "scenario.classes is empty"),
        (["metod=ssd"], "no key 'metod': did you mean method"),
        (["method.epoch=3"], "no key 'method.epoch': did you mean method.epochs"),
        (["method.batch_norm=eval"], "only the YAML does not name it: +method.batch_norm=..."),
        (["+method.epoch=3"], "no option 'epoch': did you mean epochs"),
        (["seed=zero"], "seed: Value 'zero' of type 'str' could not be converted to Integer"),
        (["method.epochs=many"], "method.epochs=many: input should be a valid integer"),
        (["method.epochs=1.5"], "method.epochs=1.5: input should be a valid integer"),
        (["method.optimizer.lr=fast"], "method.optimizer.lr=fast: input should be a valid number"),
        (["+method.batch_norm=off"], "method.batch_norm=off: input should be 'train' or 'eval'"),
        (["scenario=random", "scenario.count=0"], "scenario.count=0 cannot be drawn"),
        (["scenario=random", "scenario.count=5000"], "scenario.count=5000 cannot be drawn: digits has 1293 training"),
        (["scenario=random", "scenario.count=1293"], "the forget set is the whole training set"),
        (["scenario.classes=[0,1,2,3,4,5,6,7,8,9]"], "the forget set is the whole training set"),
        (["scenario.count=1000"], "class three of digits has 131 training samples"),
        (["scenario.fraction=1.5"], "scenario.fraction must lie in (0, 1]"),
        (["scenario.fraction=0.5", "scenario.count=5"], "choose one"),
        (["split.validation=1.5"], "split.validation must lie in [0, 1)"),
        (["dataset=image_folder"], "dataset.root must be given"),
        (["dataset=image_folder", "dataset.root=~/pets"], "quote the value"),
        (["foo"], "'foo' is no setting: write KEY=VALUE"),
        (["method.lr=3"], "no key 'method.lr': did you mean pretrain.optimizer.lr, method.optimizer.lr?"),
        (["scenario.classes=3"], "input should be a list: write [3]"),
        (["scenario=random", "scenario.fraction=0.0001"], "0.0001 of the 1293 training samples of digits is none"),
        (["trainer.devices=2"], "trainer.devices=2 is 2 processes: start them by torchrun --nproc-per-node=2"),
        (["method=scrub", "method.msteps=-3"], "method.msteps=-3 must be at least 0"),
        (
            ["method=scrub", "method.forget_steps=9"],
            "give one of them, and null for the other",
        ),
        (
            ["method=scrub", "method.msteps=null"],
            "method.msteps (passes) or method.forget_steps (steps)",
        ),
        (["method=scrub", "method.msteps=null", "method.forget_steps=0"], "method.forget_steps=0 must be at least 1"),
        (["method=scrub", "method.temperature=0"], "method.temperature=0 must be above 0"),
        (["method=bad_teacher", "method.retain_share=2"], "the share in (0, 1]"),
        (["method=finetune", "+method.forget_weight=0.5"], "weigh nothing, for FineTune draws from retain: leave"),
        (["method=gradient_ascent", "+method.retain_weight=2.0"], "retain_weight=2 would weigh nothing"),
        (["pretrain.epochs=1", "+pretrain.forget_weight=2.0"], "forget_weight=2 would weigh nothing, for Retrain"),
        (["addon=[l1,sam,l1]"], "addon=[l1,sam,l1] names l1 twice"),
        (["addon=[l1]", "addon.l1.weight=-1"], "addon.l1: weight=-1 and free=0 must not be negative"),
        (["method._target_=no.such.Thing"], "method._target_=no.such.Thing cannot be imported"),
        (["method=neggrad_plus", "scenario=random", "scenario.count=1"], "forget stream comes in batches of one"),
        (["seed=-1"], "seed=-1 must be a whole number from 0"),
        (["method.epochs=0"], "each must be 1 or more"),
        (["method.epochs=2.0"], "method.epochs=2.0: input should be a valid integer"),
        (["method.optimizer.lr=-1"], "Invalid learning rate: -1"),
        (["trainer=gpu"], "trainer: No supported gpu backend found"),
        (["tracking=sqlite", "tracking.uri=file:///x"], "tracking.uri=file:///x is no absolute database or server"),
        (["tracking=sqlite", "tracking.uri=sqlite:////dev/null/x.db"], "cannot be used (/dev/null is no folder"),
        (["tracking=sqlite", "tracking.experiment="], "tracking.experiment is empty: name it"),
        (["method=emmn", "scenario=random"], "EMMN forgets whole classes only"),
        (["method=neggrad_plus", "addon=[focus]", "trainer.precision=16-mixed"], "take bf16-mixed or 32-true"),
        (["dataset=image_folder", "dataset.root=/nowhere"], "no images under /nowhere: put them in /nowhere/train/"),
        (["pretrain.checkpoint=/nowhere/x.pt"], "cannot read /nowhere/x.pt: No such file"),
        (["method.optimizer.lr=1e30"], "diverged"),
    ],
)
def test_bad_input(arguments: list[str], expected: str, command, tmp_path: Path) -> None:
    assert expected in bad(command, tmp_path, *arguments)


def test_a_long_list_of_choices_is_cut() -> None:
    letters = [first + second for first in "abc" for second in "abcdefgh"]
    assert nearest("1", letters) == "choose from " + ", ".join(sorted(letters)[:20]) + ", ... (24 in all)"
    assert nearest("1", letters[:20]).endswith(", cd")
    assert nearest("1", ["a.b", "c", "b"]) == "choose from b, c, a.b"


def test_a_checkpoint_of_another_shape_or_kind(command, tmp_path: Path) -> None:
    config, _ = composed()
    state = build.model(config, build.dataset(config)).state_dict()
    head = list(state)[-1]
    file = tmp_path / "own.pt"
    torch.save(state | {head: torch.zeros(7)}, file)
    assert f"{head} has shape (7,), the model wants (10,)" in bad(command, tmp_path, f"pretrain.checkpoint={file}")
    torch.save({name: tensor for name, tensor in state.items() if name != head}, file)
    assert f"it lacks '{head}' (1 such" in bad(command, tmp_path, f"pretrain.checkpoint={file}")
    torch.save(state | {"extra": torch.zeros(1)}, file)
    assert "it also has 'extra'" in bad(command, tmp_path, f"pretrain.checkpoint={file}")
    torch.save(build.model(config, build.dataset(config)), file)
    assert "a pickled model is not loaded" in bad(command, tmp_path, f"pretrain.checkpoint={file}")
    file.write_bytes(pickle.dumps({"a": 1}, protocol=4))  # about which torch has something to say, too
    assert "is no plain state dict" in bad(command, tmp_path, f"pretrain.checkpoint={file}")
    file.write_bytes(b"garbage")
    assert "is no plain state dict" in bad(command, tmp_path, f"pretrain.checkpoint={file}")


def test_an_original_model_that_is_of_no_use_is_not_blamed_on_the_method(command, tmp_path: Path) -> None:
    line = bad(command, tmp_path, f"paths.store={tmp_path}/s", "pretrain.optimizer.lr=1e30", "pretrain.batch_size=2000")
    assert line.startswith("error: training the original model diverged (try a smaller pretrain.optimizer.lr): there")
    file = tmp_path / "model.safetensors"
    config = composed()[0]
    state = build.model(config, build.dataset(config)).state_dict()
    save_file({name: (tensor * torch.nan).contiguous() for name, tensor in state.items()}, file)
    assert f"pretrain.checkpoint={file} is no model of use: there are" in bad(
        command, tmp_path, f"pretrain.checkpoint={file}"
    )


def test_a_diverged_run_is_marked_as_failed_and_can_be_run_again(command, tmp_path: Path) -> None:
    line = bad(command, tmp_path, "method.optimizer.lr=1e30")
    (folder,) = runs(tmp_path)
    assert (folder / "FAILED").read_text().strip() in line


def test_a_refused_repetition_costs_no_result(command, tmp_path: Path) -> None:
    assert command(*FAST)[0] == 0
    (folder,) = runs(tmp_path)
    before = sorted(file.name for file in folder.iterdir())
    code, _, err = command(*FAST, "force=true", "tracking=sqlite", "tracking.uri=sqlite:////dev/null/x.db")
    assert (code, "cannot be used" in err) == (1, True)
    assert sorted(file.name for file in folder.iterdir()) == before


def test_finite_weights_with_predictions_that_are_not_are_no_result(command) -> None:
    code, _, err = command("tracking=none", "pretrain.epochs=1", "method=wood_fisher", "method.damping=1e-12")
    assert code == 1
    assert "WoodFisher diverged: there are values that are not finite in its predictions" in err


def test_how_a_run_was_made_is_on_disk_from_its_start_and_stays_if_it_fails(
    command, tmp_path: Path, monkeypatch
) -> None:
    at_start = []

    def fail(run: pipeline.Run) -> None:
        at_start.append((run.folder / "provenance.json").read_text())
        (run.folder / "half.bin").touch()
        raise RuntimeError("the loss is NaN")

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.Run, "results", fail)
        with pytest.raises(RuntimeError, match="NaN"):
            command(*FAST, "method.epochs=2")
    (folder,) = runs(tmp_path)
    assert {f.name for f in folder.iterdir()} == {"FAILED", "provenance.json"}
    assert (folder / "provenance.json").read_text() == at_start[0]
    found = json.loads(at_start[0])
    assert found["config"]["method"]["epochs"] == 2
    assert found["config"]["choices"]["method"] == "finetune"
    assert found["run_key"].startswith(folder.name.rpartition("-")[2])
    assert found["versions"]["torch"] == version("torch")
    assert found["command"].endswith("method.epochs=2")
    assert "git" in found
    code, out, _ = command(*FAST, "method.epochs=2")  # it is not taken for finished
    assert code == 0
    assert Path(out.strip().splitlines()[-1]).parent == folder
    assert (folder / "DONE").exists()
    assert not (folder / "FAILED").exists()
    monkeypatch.setattr(pipeline.Run, "results", fail)
    assert command(*FAST, "method.epochs=2") == (0, out, "")  # and now it is


def test_a_data_set_that_is_neither_there_nor_to_be_had_is_asked_for_by_its_files(
    command, tmp_path: Path, monkeypatch
) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    line = bad(command, tmp_path, "dataset=cifar100")
    assert f"cifar100 is not under {tmp_path}/data and could not be downloaded" in line
    assert "put cifar-100-python/ (unpacked from cifar-100-python.tar.gz) there" in line


def test_pins_faces_are_asked_for_by_their_folder(command, tmp_path: Path) -> None:
    there = f"{tmp_path}/data/105_classes_pins_dataset"
    line = bad(command, tmp_path, "dataset=pins")
    assert f"no images under {there}: put them in {there}/train/<class>/" in line
    assert line.endswith(f"or just {there}/<class>/")


def test_the_data_that_the_addons_see_counts_as_the_runs(command, tmp_path: Path) -> None:
    _, out, _ = command(*FAST, "method=jit")
    assert results(out)["access"] == {"forget": "inputs"}
    assert "jit was handed: forget (inputs)" in out
    _, out, _ = command(*FAST, "method=jit", "addon=[saliency]")
    found = results(out)
    assert found["access"] == {"forget": "inputs and labels"}
    assert out.startswith("jit+saliency: small_cnn on digits forgets")
    assert "jit+saliency was handed: forget (inputs and labels)" in out
    card = (Path(out.strip().splitlines()[-1]).parent / "MODEL_CARD.md").read_text()
    assert "handed: forget (inputs and labels)\n" in card


def test_a_corrupt_model_in_the_store_is_made_again(command, tmp_path: Path, caplog) -> None:
    store = f"paths.store={tmp_path}/own"
    _, out, _ = command(*FAST, store)
    first = results(out)
    for file in (tmp_path / "own" / "models").glob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:-10])
    code, out, err = command(*FAST, store, "force=true")
    assert code == 0
    assert "is corrupt" in err + caplog.text
    assert without_cost(results(out)) == without_cost(first)


@pytest.mark.parametrize("damage", [lambda file: file.write_text(file.read_text()[:99]), Path.unlink])
def test_a_finished_run_whose_results_are_damaged_is_made_again(damage, command, tmp_path: Path, caplog) -> None:
    _, out, _ = command(*FAST)
    first = results(out)
    damage(runs(tmp_path)[0] / "results.json")
    code, out, err = command(*FAST)
    assert code == 0
    assert "results.json cannot be read: the run is made again" in err + caplog.text
    assert without_cost(results(out)) == without_cost(first)


# Sweeps


def test_a_sweep_goes_on_past_a_failure_and_lists_it(command, tmp_path: Path) -> None:
    code, out, _ = command("-m", *FAST, "scenario.count=5,1000,7")
    assert code == 1
    assert "1 of 3 runs failed" in out
    assert "class three of digits has 131 training samples" in out.splitlines()[-1]
    done = [p for p in runs(tmp_path) if (p / "DONE").exists()]
    assert len(done) == 2
    stamps = [(p / "results.json").stat().st_mtime_ns for p in done]
    code, *_ = command("-m", *FAST, "scenario.count=5,7")
    assert code == 0
    assert stamps == [(p / "results.json").stat().st_mtime_ns for p in done]  # finished runs are skipped


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["method=finetune,ssd", "method.epochs=1"], "method=ssd method.epochs=1: there is no key 'method.epochs'"),
        (["method=finetune,bogus"], "method=bogus: there is no method named 'bogus'"),
    ],
)
def test_a_sweep_with_a_job_that_does_not_compose_names_it(arguments: list[str], expected: str, command) -> None:
    code, out, err = command("-m", "tracking=none", *arguments)
    assert (code, out) == (1, "")
    assert err.startswith("error: no run was started, because of ")
    assert expected in err


def test_a_setting_beside_a_swept_group_need_not_fit_the_groups_default(command) -> None:
    listed = ["hydra/launcher=list", "scenario=poison,confusion", "scenario.known=0.3", "+method.batch_norm=eval"]
    code, out, err = command("-m", "tracking=none", *listed)
    assert (code, err) == (0, "")
    jobs = [line.split()[-3:] for line in out.splitlines() if "scenario=" in line]
    settings = ["scenario.known=0.3", "+method.batch_norm=eval"]
    assert jobs == [["scenario=poison", *settings], ["scenario=confusion", *settings]]


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("scenario.classes=[3,4]", "scenario.classes=choice([3,4])"),
        ("scenario.known=0.3,0.5", "scenario.known=choice(0.3,0.5)"),
        ("dataset.root='/a b'", "dataset.root=choice('/a b')"),
        *((same, same) for same in ("-m", "seed=1", "tracking.uri=http://h", "method.epochs=range(1,3)", "~method.lr")),
        *((same, same) for same in ("method=glob(*)", "pretrain.checkpoint=", "dataset.root=~/pets")),
    ],
)
def test_which_settings_of_a_sweep_are_its_jobs_alone(argument: str, expected: str) -> None:
    assert cli.for_each_job(argument) == expected


def test_a_sweep_whose_records_cannot_be_written(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = "error: the folder of the sweep's records cannot be written ([Errno 20] Not a directory: '/dev/null/x"
    code, out, err = command("-m", *FAST, "paths.runs=/dev/null/x")  # where Hydra makes a folder at the start
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert err.startswith(expected)
    assert err.endswith("set paths.runs=DIR\n")
    monkeypatch.setattr(cli, "sweep_folder", lambda *_: Path("/dev/null/x"))  # where jobs say how they ended
    code, out, err = command("-m", *FAST, "scenario.count=1000,1001")
    assert (code, "Traceback" in err) == (1, False)
    assert err.splitlines()[-1].startswith(expected)  # after a line of Hydra's, which says in which job
    assert out.count("FAILED: scenario.count=100") == 2  # the sweep went on


def test_a_mistake_in_the_request_is_no_failed_run(command, tmp_path: Path) -> None:
    bad(command, tmp_path, "scenario.classes=[99]")
    assert not runs(tmp_path)


def test_a_finished_run_is_logged_where_it_was_not_yet(command, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    def logged(place: str) -> list[str]:
        client = MlflowClient(f"sqlite:///{tmp_path}/{place}.db")
        found = client.search_runs([client.get_experiment_by_name("unlearning").experiment_id])
        return [run.data.tags["run_key"] for run in found if run.data.metrics["forget/acc"] >= 0]

    _, out, _ = command(*FAST)
    for place in ("one", "two", "one", "two"):
        tracked = ["tracking=sqlite", f"tracking.uri=sqlite:///{tmp_path}/{place}.db"]
        assert command(*FAST[1:], *tracked) == (0, out, "")  # the same result, not made again
    assert logged("one") == logged("two") == [results(out)["run_key"]]


def test_a_sweep_with_a_failure_has_failed_in_mlflow_too(command, tmp_path: Path) -> None:
    fast = [*FAST[1:], "tracking=sqlite"]
    early = ["seed=1", f"pretrain.checkpoint=null,{tmp_path}/missing.pt"]  # fails before it could be logged
    assert [command("-m", *fast, *jobs)[0] for jobs in (["seed=0"], early, ["scenario.count=5,1000"])] == [0, 1, 1]
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("unlearning").experiment_id], order_by=["start_time"])
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    assert [run.info.status for run in parents] == ["FINISHED", "FAILED", "FAILED"]


def test_a_sweep_shares_its_reference_models(command, tmp_path: Path) -> None:
    store = tmp_path / "own"
    command("-m", *FAST, "method=finetune,gradient_ascent", f"paths.store={store}")
    assert len(list((store / "models").glob("*.safetensors"))) == 2


# Real processes


def start(*arguments: str, stdout: int | IO = subprocess.PIPE) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes = {"stdout": stdout, "stderr": subprocess.PIPE, "text": True, "env": environment}
    return subprocess.Popen([sys.executable, str(ROOT / "run.py"), *arguments], **pipes)


def test_a_finished_run_is_shown_without_importing_torch(
    command, places: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, out, _ = command(*FAST)
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    process = start(*places, *FAST)
    again, imported = process.communicate()
    assert process.returncode == 0
    assert again.split() == out.split()
    assert "unlearning.cli" in imported
    assert "torch" not in imported


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("sweep", [[], ["-m"]])
def test_a_table_that_cannot_be_printed(command, places: list[str], sweep: list[str]) -> None:
    command(*FAST)
    with open("/dev/full", "w") as full:
        process = start(*sweep, *places, *FAST, stdout=full)
        _, err = process.communicate()
    assert process.returncode == 1
    (line,) = err.strip().splitlines()
    assert line.startswith(
        "error: no summary of the sweep: " if sweep else "error: the table cannot be shown (No space"
    )


def test_help_is_quick_to_import_and_teaches() -> None:
    code = "import sys; sys.argv=['run.py','--help']; import runpy; runpy.run_path('run.py', run_name='__main__')"
    code += "; assert not {'torch', 'hydra', 'omegaconf'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    for word in ("scrub", "saliency", "cifar100", "retrained=false", "scenario.classes"):
        assert word in done.stdout


def test_two_sweeps_at_once_do_not_collide(tmp_path: Path) -> None:
    fast = [*FAST, f"paths.root={tmp_path}", "tracking=sqlite"]
    both = [start("-m", *fast, f"scenario.count=5,7,{extra}") for extra in (9, 11)]
    for process in both:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, out + err
    assert len([p for p in runs(tmp_path) if (p / "DONE").exists()]) == 4
    assert len(list((tmp_path / "store" / "models").glob("*.safetensors"))) == 5  # one original, four retrained
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("unlearning").experiment_id
    found = client.search_runs([experiment])
    children = [run for run in found if "mlflow.parentRunId" in run.data.tags]
    assert len(children) == 4
    assert len(found) - len(children) == 2  # a parent for each sweep


def test_a_killed_process_leaves_nothing_that_stops_the_next(tmp_path: Path) -> None:
    fast = [*FAST, f"paths.root={tmp_path}"]
    process = start(*fast, "pretrain.epochs=2000")
    deadline = time.time() + 120
    while not (tmp_path / "store" / "models").exists() and time.time() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not list((tmp_path / "store").rglob("*.safetensors"))
    assert not list((tmp_path / "multirun").glob("*/DONE"))
    done = start(*fast)
    out, err = done.communicate(timeout=240)
    assert done.returncode == 0, out + err


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); import runpy, sys; "
    arguments = ["run.py", *FAST, f"paths.root={tmp_path}"]
    code = limit + f"sys.argv={arguments!r}; runpy.run_path('run.py', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "error: no space left while writing" in done.stderr
    assert "paths.store=DIR" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "store").rglob("*.tmp"))
    assert not list((tmp_path / "store").rglob("*.safetensors"))
