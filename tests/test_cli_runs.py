"""Runs from the command line: what the screen shows, and what stays."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.command_line import FAST, Done, names, runs, without_cost
from tests.conftest import composed
from unlearning import __version__, cli
from unlearning.engine.job import Job
from unlearning.verify import command as verify

Command = Callable[..., Done]


def test_a_run_shows_its_table_and_leaves_its_results(command: Command, tmp_path: Path) -> None:
    done = command(*FAST)
    assert (done.code, done.err) == (0, "")
    log = (done.folder / "log.txt").read_text()
    assert "python run.py pretrain.epochs=1 method=finetune method.epochs=1\n" in log
    assert re.search(r"INFO finished after \d+\.\d s\n$", log)
    assert "original" in done.out
    assert "retrained" in done.out
    assert runs(tmp_path) == [done.folder]
    found = done.results
    assert set(found["rows"]) == {"original", "retrained", "unlearned"}
    unlearned, retrained = found["rows"]["unlearned"], found["rows"]["retrained"]
    assert {"forget/acc", "retain/acc", "test/acc", "mia/loss_auc", "cost/seconds"} <= unlearned.keys()
    gap = unlearned["forget/acc"] - retrained["forget/acc"]
    assert found["gaps"]["gap/forget/acc"] == pytest.approx(gap)
    assert found["cost"]["cost/forward"] == found["sizes"]["retain"]  # of the method alone, not of its evaluation
    assert verify.main([str(done.folder)]) == 0


def test_a_finished_run_is_not_repeated_unless_forced(command: Command, tmp_path: Path) -> None:
    first = command(*FAST)
    file = first.folder / "results.json"
    stamp = file.stat().st_mtime_ns
    assert command(*FAST) == first
    assert file.stat().st_mtime_ns == stamp
    command(*FAST, "force=true")
    assert file.stat().st_mtime_ns > stamp


@pytest.mark.parametrize(
    "method", ["scrub", *(pytest.param(name, marks=pytest.mark.slow) for name in ("ssd", "retrain"))]
)
def test_the_same_command_gives_bit_equal_results(method: str, command: Command, tmp_path: Path) -> None:
    words = ["tracking=none", "debug=fast", f"method={method}"]
    first = command(*words, f"paths.store={tmp_path}/one")
    found, weights = first.results, load_file(first.folder / "unlearned.safetensors")
    second = command(*words, "force=true", f"paths.store={tmp_path}/two")  # the models are trained anew, too
    assert without_cost(second.results) == without_cost(found)
    assert second.results["weights"] == found["weights"]
    again = load_file(second.folder / "unlearned.safetensors")
    assert weights.keys() == again.keys()
    assert all(torch.equal(tensor, again[name]) for name, tensor in weights.items())


def test_retraining_as_a_method_is_another_draw_than_the_reference(command: Command) -> None:
    """The gaps of ``method=retrain`` are the noise floor: they are not zero by construction."""
    found = command("tracking=none", "pretrain.epochs=1", "method=retrain").results
    assert found["rows"]["unlearned"]["distance/js_test"] > 0


def test_passes_of_an_addon_are_counted(command: Command) -> None:
    found = command(*FAST, "addon=[saliency]").results
    assert found["cost"]["cost/forward"] == found["sizes"]["retain"] + found["sizes"]["forget"]


def test_an_own_model_goes_in_and_comes_out(command: Command, tmp_path: Path) -> None:
    job = Job.of(composed()[0])
    torch.manual_seed(1)
    state = job.network().state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "own.safetensors")
    torch.save(state, tmp_path / "own.pt")
    own = ["tracking=none", "method=original", "retrained=false"]
    one, two = (command(*own, f"pretrain.checkpoint={tmp_path}/own.{ending}") for ending in ("safetensors", "pt"))
    for done in (one, two):
        assert (done.code, done.err) == (0, "")
        assert "retrained" not in done.results["rows"]
        assert done.results["gaps"] == {}
        assert not any(name.startswith("distance/") for name in done.results["rows"]["unlearned"])
    assert without_cost(one.results) == without_cost(two.results)
    unlearned = load_file(one.folder / "unlearned.safetensors")
    assert all(torch.equal(tensor, unlearned[name]) for name, tensor in state.items())


# Unlearned models are kept


@pytest.mark.parametrize("method", [pytest.param("scrub", marks=pytest.mark.slow), "ssd"])
def test_another_folder_of_runs_takes_the_unlearned_model_from_the_store(
    method: str, command: Command, tmp_path: Path
) -> None:
    words = ["tracking=none", "debug=fast", f"method={method}", f"paths.store={tmp_path}/store"]
    first = command(*words)
    (entry,) = (tmp_path / "store" / "unlearned").glob("*.safetensors")
    written = entry.stat().st_ino
    second = command(*words, f"paths.runs={tmp_path}/others")
    assert second.folder.parent == tmp_path / "others"
    assert second.results["cost"] == first.results["cost"]  # of making it, whenever that was
    assert second.results["weights"] == first.results["weights"]
    assert entry.stat().st_ino == written  # it was not made again
    logs = [(done.folder / "log.txt").read_text() for done in (first, second)]
    assert [bool(re.search("Unlearning|Observing", log)) for log in logs] == [True, False]
    command(*words, f"paths.runs={tmp_path}/others", "force=true")
    assert entry.stat().st_ino != written
    log = (second.folder / "log.txt").read_text()
    assert re.search("Unlearning|Observing", log) or method == "ssd"  # whose observation is kept, too
    assert "Training" not in log  # the reference models are not made again


# Words about a run


@pytest.mark.slow
def test_the_log_can_be_shown(command: Command) -> None:
    done = command(*FAST, "-v")
    log = (done.folder / "log.txt").read_text()
    assert done.err == log
    assert "INFO finished after" in log
    assert "verbose" not in done.results["command"]
    assert command(*FAST, "force=true").err == ""  # it is not shown for ever


def test_explain_tells_which_row_set_what_and_why(command: Command, tmp_path: Path) -> None:
    words = ("tracking=none", "pretrain.epochs=1", "method=scrub", "method.epochs=2")
    done = command("--explain", *words)
    assert (done.code, done.err) == (0, "")
    assert not runs(tmp_path)
    rows = command(*words).results["settings"]
    assert f"scrub: rows of the settings' tables that apply: {len(rows)}\n" in done.out
    of_scrub = [row for row in rows if row["table"].startswith("table/scrub.yaml, row ")]
    assert any("method.batch_size" in row["set"] and row["when"] == {"dataset": ["digits"]} for row in of_scrub)
    assert not any("method.epochs" in row["set"] for row in of_scrub)  # the command line set it
    for row in rows:
        assert f"\n{row['table']}: {row['why']}\n" in done.out
        for name, value in row["set"].items():
            assert f"\n  {name} = {value}\n" in done.out
            node: object = composed(*words)[0]
            for part in name.split("."):
                node = node[part]
            assert node == value


@pytest.mark.slow
def test_a_flag_may_follow_the_settings(command: Command, tmp_path: Path) -> None:
    done = command(*FAST, "seed=0", "-m", "scenario.count=5,7")
    assert done.code == 0
    assert len(runs(tmp_path)) == 2
    shown = command("method=ssd", "--cfg", "job", "method.alpha=3", "--package", "method")
    assert shown.code == 0
    assert "alpha: 3" in shown.out.splitlines()


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"unlearning {__version__}\n"


# Trials and profiles


def test_a_fast_trial_says_that_it_is_one(command: Command) -> None:
    done = command("tracking=none", "debug=fast", "method=scrub")
    assert (done.code, done.err) == (0, "")
    assert done.folder.name.startswith("trial-digits-class-scrub-s0-")
    sizes = done.results["sizes"]
    assert [sizes[name] for name in ("forget", "retain", "validation", "test")] == [64] * 4
    assert done.out.startswith("trial: scrub on digits")
    assert (done.folder / "MODEL_CARD.md").read_text().startswith("# trial: ")
    steps = {name: len(curve) for name, curve in json.loads((done.folder / "curves.json").read_text()).items()}
    epochs = done.results["config"]["method"]["epochs"]
    assert steps.keys() == {"unlearn/forget_loss", "unlearn/retain_loss"}
    assert all(0 < count <= 2 * epochs for count in steps.values())


@pytest.mark.slow
def test_a_profile_lies_beside_the_results(command: Command) -> None:
    done = command(*FAST, "debug=profile", "force=true")
    assert (done.code, done.err) == (0, "")
    assert {"profile.txt", "profile.prof", "results.json"} <= names(done.folder)
    assert "cumulative" in (done.folder / "profile.txt").read_text()
    assert done.folder == command(*FAST).folder  # a profile decides no result


# Where things are


def test_a_run_writes_below_the_current_folder(tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main([*FAST, f"paths.store={shared}/store"]) == 0
    assert names(tmp_path) == {"multirun"}
    assert cli.main([*FAST, f"paths.store={shared}/store"], root=tmp_path / "other") == 0
    assert names(tmp_path / "other") == {"multirun"}
    assert cli.main([*FAST, f"paths.store={shared}/store", "paths.root=third"], root=tmp_path / "other") == 0
    assert names(tmp_path) == {"multirun", "other", "third"}
    assert len({folder.name for root in ("", "other", "third") for folder in runs(tmp_path / root)}) == 1


# Finished runs


def test_damaged_entries_of_the_store_are_made_again(
    command: Command, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = f"paths.store={tmp_path}/store"
    first = command(*FAST, store).results
    for file in (tmp_path / "store").rglob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:-10])
    again = command(*FAST, store, "force=true")
    assert again.code == 0
    assert "is corrupt" in again.err + caplog.text
    assert without_cost(again.results) == without_cost(first)


@pytest.mark.slow
def test_a_finished_run_is_logged_where_it_was_not_yet(command: Command, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    def logged(place: str) -> list[str]:
        client = MlflowClient(f"sqlite:///{tmp_path}/{place}.db")
        found = client.search_runs([client.get_experiment_by_name("unlearning").experiment_id])
        return [run.data.tags["run_key"] for run in found if run.data.metrics["forget/acc"] >= 0]

    first = command(*FAST)
    for place in ("one", "two", "one"):
        tracked = ["tracking=sqlite", f"tracking.uri=sqlite:///{tmp_path}/{place}.db"]
        assert command(*FAST[1:], *tracked) == first  # the same result, not made again
    assert logged("one") == logged("two") == [first.results["run_key"]]
