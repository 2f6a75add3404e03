"""A request that follows an earlier run: where it begins, what it never sees again, and what is checked once more."""

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import composed
from unlearning.engine.job import Job
from unlearning.errors import UserError
from unlearning.pipeline import run
from unlearning.records.card import earlier_run
from unlearning.records.verdict import verdict
from unlearning.request import Request
from unlearning.verify.comparison import compared
from unlearning.verify.files import read

pytestmark = pytest.mark.slow
FAST = ["tracking=none", "dataset=wine", "model=mlp", "scenario=list", "split.validation=0.05", "pretrain.epochs=1"]
FAST += ["method=finetune", "method.epochs=1", "evaluation.membership=null", "evaluation.distance=null"]


def listed(root: Path, ids: list[int]) -> str:
    file = root / f"{'-'.join(map(str, ids))}.txt"
    file.write_text("\n".join(map(str, ids)))
    return f"scenario.file={file}"


def config(root: Path, ids: list[int], *words: str, after: Path | None = None) -> dict[str, Any]:
    return composed(*FAST, *words, listed(root, ids), f"after={after or 'null'}")[0]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The folders of three runs that follow each other; the lists are of training samples."""
    root = tmp_path_factory.mktemp("chain")
    places = [f"paths.root={root}"]
    train = composed_train(root, places)
    folders: list[Path] = []
    for ids in (train[:3], train[5:9], train[20:22]):
        after = f"after={folders[-1]}" if folders else "after=null"
        composition = composed(*FAST, *places, listed(root, ids), after)
        folders.append(run(Request(*composition)))
    return folders


def composed_train(root: Path, places: list[str]) -> list[int]:
    """Ids that the data set has in training, whatever a list would move there."""
    found = composed(*FAST, "scenario=random", "scenario.count=1", *places)[0]
    ids: list[int] = Job.of(found).problem.split.train.tolist()
    return ids


@pytest.fixture
def later(chain: list[Path]) -> Callable[..., Job]:
    """A function that makes the job of a request after the first one, on samples that it left."""
    root = chain[0].parents[1]

    def made(ids: list[int] | None = None, *words: str, after: Path = chain[0]) -> Job:
        left = load_file(chain[0] / "split.safetensors")["retain"].tolist()
        return Job.of(config(root, left[-2:] if ids is None else ids, f"paths.root={root}", *words, after=after))

    return made


def results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())


def test_what_was_requested_before_is_in_no_later_set(chain: list[Path]) -> None:
    splits = [load_file(folder / "split.safetensors") for folder in chain]
    first, second, third = (split["forget"].tolist() for split in splits)
    assert (len(first), len(second), len(third)) == (3, 4, 2)
    for split, gone in ((splits[1], first), (splits[2], first + second)):
        assert not {*gone} & {*torch.cat(list(split.values())).tolist()}
    assert splits[2]["retain"].tolist() == [i for i in splits[0]["train"].tolist() if i not in first + second + third]
    for name in ("validation", "test"):
        assert all(torch.equal(split[name], splits[0][name]) for split in splits)
    assert not (chain[0] / "earlier.safetensors").exists()
    assert load_file(chain[2] / "earlier.safetensors")["earlier"].tolist() == sorted(first + second)


def test_each_begins_with_the_model_that_the_one_before_left(chain: list[Path]) -> None:
    found = [results(folder) for folder in chain]
    for before, after in itertools.pairwise(found):
        assert after["original_weights"] == before["weights"] == after["after"]["weights"]
        assert after["after"]["run_key"] == before["run_key"]
        assert after["weights"] != before["weights"]
    assert [one["after"] and one["after"]["requests"] for one in found] == [None, 1, 2]
    assert [one["after"] and one["after"]["samples"] for one in found] == [None, 3, 7]


def test_earlier_samples_are_checked_again_for_every_model_and_the_numbers_verify(chain: list[Path]) -> None:
    found = results(chain[2])
    assert all(0 <= found["rows"][name]["earlier/acc"] <= 1 for name in ("original", "retrained", "unlearned"))
    assert "gap/earlier/acc" in found["gaps"]
    assert "earlier/acc" not in results(chain[0])["rows"]["unlearned"]
    checks = {check.name: check for check in compared(read(chain[2])).checks}
    assert all(check.agrees for check in checks.values())
    assert {"unlearned earlier/loss_auc", "after/samples", "after/weights", "earlier.safetensors"} <= checks.keys()
    assert "of the 7 of earlier requests" in verdict(found)
    assert "2 earlier requests over 7 samples" in earlier_run(found["after"])[0]


def test_the_reference_is_that_of_one_joint_request(chain: list[Path]) -> None:
    """The store has it under the samples that are left, so it is found again: its cost is the very same number."""
    root = chain[0].parents[1]
    every = [i for folder in chain for i in load_file(folder / "split.safetensors")["forget"].tolist()]
    joint = run(Request(*composed(*FAST, f"paths.root={root}", listed(root, every))))
    costs = [results(folder)["rows"]["retrained"]["cost/seconds"] for folder in (chain[2], joint)]
    assert costs[0] == costs[1]


def test_the_key_follows_the_weights_and_not_the_place(chain: list[Path], tmp_path: Path) -> None:
    root = chain[0].parents[1]

    def digest(after: Path) -> str:
        return Request(*composed(*FAST, f"paths.root={root}", listed(root, [1]), f"after={after}")).key.digest

    moved = shutil.copytree(chain[0], tmp_path / "moved")
    assert digest(moved) == digest(chain[0]) != digest(chain[1])
    (moved / "log.txt").write_text("other")
    assert digest(moved) == digest(chain[0])
    (moved / "unlearned.safetensors").write_bytes((chain[1] / "unlearned.safetensors").read_bytes())
    assert digest(moved) != digest(chain[0])


# What is refused


@pytest.mark.parametrize("lost", ["unlearned.safetensors", "split.safetensors", "results.json", "DONE"])
def test_a_folder_that_lacks_something_is_refused(
    lost: str, chain: list[Path], later: Callable, tmp_path: Path
) -> None:
    part = shutil.copytree(chain[0], tmp_path / "part")
    (part / lost).unlink()
    with pytest.raises(UserError, match=lost) as caught:
        later(after=part)
    assert (caught.value.key, caught.value.kind) == ("after", "file")


@pytest.mark.parametrize(
    "words",
    [
        ["dataset=digits", "model=small_cnn"],
        ["model.hidden=[8]"],
        ["split.validation=0.1"],
        ["split.seed=1"],
        ["pretrain.checkpoint=own.safetensors"],
    ],
)
def test_other_data_another_model_or_split_are_refused(
    words: list[str], later: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.safetensors").write_bytes(b"another model")
    with pytest.raises(UserError) as caught:
        later(None, *words)
    assert (caught.value.key, caught.value.kind) == ("after", "conflict")
    assert "\n" not in str(caught.value)


def test_other_data_for_the_same_model_are_refused(chain: list[Path], later: Callable, tmp_path: Path) -> None:
    other = shutil.copytree(chain[0], tmp_path / "other")
    (other / "earlier.safetensors").write_bytes((chain[2] / "earlier.safetensors").read_bytes())  # not that run's
    with pytest.raises(UserError, match="other data") as caught:
        later(after=other)
    assert caught.value.key == "after"


def test_what_is_requested_twice_is_refused_by_name(chain: list[Path], later: Callable) -> None:
    twice = load_file(chain[0] / "split.safetensors")["forget"].tolist()[:2]
    left = load_file(chain[0] / "split.safetensors")["retain"].tolist()[0]
    with pytest.raises(UserError, match=", ".join(map(str, twice))) as caught:
        later([*twice, left])
    assert (caught.value.key, caught.value.kind) == ("scenario.file", "conflict")
    assert "2 samples" in str(caught.value)


def test_weights_that_the_run_did_not_write_are_refused(chain: list[Path], later: Callable, tmp_path: Path) -> None:
    other = shutil.copytree(chain[0], tmp_path / "other")
    (other / "unlearned.safetensors").write_bytes((chain[1] / "unlearned.safetensors").read_bytes())
    with pytest.raises(UserError, match="other weights") as caught:
        later(after=other).given()
    assert (caught.value.key, caught.value.kind) == ("after", "file")


def test_a_scenario_that_draws_draws_from_what_is_left(chain: list[Path]) -> None:
    root = chain[2].parents[1]
    found = composed(*FAST, "scenario=random", "scenario.fraction=0.5", f"paths.root={root}", f"after={chain[2]}")[0]
    job, gone = Job.of(found), load_file(chain[2] / "earlier.safetensors")["earlier"]
    assert not torch.isin(gone, job.problem.split.train).any()
    assert "original" not in job.taught()
