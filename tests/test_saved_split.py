"""A run can take up the index sets of another."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

from tests.conftest import composed
from unlearning import pipeline
from unlearning.data.datasets import Dataset, coarsened
from unlearning.data.digits import digits
from unlearning.errors import Kind, UserError
from unlearning.request import Request
from unlearning.scenarios.base import Scenario, assemble
from unlearning.scenarios.forgetting import ClassForgetting, RandomForgetting, SubclassForgetting
from unlearning.scenarios.manipulations import Confusion, DataEntry
from unlearning.scenarios.poison import Poison
from unlearning.scenarios.saved import SavedSplit, split_file

# Row i of the animals has class LABELS[i]; rows 0-11 train, 12-13 validation, 14-18 test.
LABELS = [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 0, 1, 2, 3, 3]
KINDS = {"insect": [0, 1], "mammal": [2, 3]}


@pytest.fixture(scope="module")
def data() -> Dataset:
    return digits(seed=0)


@pytest.fixture
def file(data: Dataset, tmp_path: Path) -> Path:
    file = tmp_path / "split.safetensors"
    file.write_bytes(split_file(ClassForgetting(0, [3]).prepare(data).split, data))
    return file


@pytest.fixture(scope="module")
def animals() -> Dataset:
    ids = torch.arange(len(LABELS))
    inputs = torch.zeros(len(LABELS), 4, 4, 1, dtype=torch.uint8)
    names = ("ant", "bee", "cow", "dog")
    parts = ids[:12], ids[12:14], ids[14:]
    return Dataset("animals", inputs, torch.tensor(LABELS), names, *parts, (0.0,), (1.0,), superclasses=KINDS)


def refused(data: Dataset, file: Path, kind: Kind = "file") -> None:
    """Check that a file is refused, in one line that names it."""
    with pytest.raises(UserError) as error:
        SavedSplit(0, str(file)).prepare(data)
    assert (error.value.key, error.value.kind) == ("scenario.file", kind)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_split_comes_back_whole_whatever_the_seeds(data: Dataset, file: Path) -> None:
    otherwise = digits(seed=5)
    assert not torch.equal(otherwise.train, data.train)
    problem = SavedSplit(9, str(file)).prepare(otherwise)
    assert problem.data.digest == data.digest
    assert (data.labels[problem.split.forget] == 3).all()
    assert problem.split.digest == ClassForgetting(0, [3]).prepare(data).split.digest  # the forgotten classes included
    assert problem.task.forget_classes == problem.split.forget_classes == (3,)


def test_a_run_takes_up_what_another_saved(places: list[str]) -> None:
    quick = ("method=gradient_ascent", "tracking=none", "pretrain.seed=0", "pretrain.epochs=1", "retrained=false")

    def folder(*overrides: str) -> Path:
        words = (*quick, *overrides, *places)
        return pipeline.run(Request(*composed(*words), words))

    first = folder("scenario=random", "scenario.count=40")
    second = folder("scenario=saved", f"scenario.file={first}/split.safetensors", "scenario.seed=8", "split.seed=9")
    found = [json.loads((run / "results.json").read_text()) for run in (first, second)]
    assert second != first
    assert found[0]["sizes"]["forget"] == 40
    assert found[0]["data"] == found[1]["data"]
    assert found[0]["weights"] == found[1]["weights"]
    splits = [load_file(run / "split.safetensors") for run in (first, second)]
    assert all(torch.equal(splits[0][name], splits[1][name]) for name in splits[0])


def test_the_content_of_the_file_decides_the_key(file: Path, data: Dataset, tmp_path: Path) -> None:
    def key(file: Path) -> str:
        return Request(*composed("scenario=saved", f"scenario.file={file}")).key.digest

    copy, other = tmp_path / "copy.safetensors", tmp_path / "other.safetensors"
    copy.write_bytes(file.read_bytes())
    other.write_bytes(split_file(ClassForgetting(0, [4]).prepare(data).split, data))
    assert key(file) == key(copy) != key(other)


@pytest.mark.parametrize(
    ("scenario", "coarse"),
    [
        (ClassForgetting(0, [3]), False),
        (ClassForgetting(0, [0, 3]), False),
        (ClassForgetting(0, [3], count=2), False),
        (ClassForgetting(0, ["insect"]), True),
        (SubclassForgetting(0, ["dog"]), True),
        (SubclassForgetting(0, ["dog", "ant"], count=1), True),
        (RandomForgetting(0, count=4), False),
        (RandomForgetting(0, count=4), True),
    ],
)
def test_the_split_of_every_scenario_that_leaves_data_as_they_are_is_taken_up(
    scenario: Scenario, coarse: bool, animals: Dataset, tmp_path: Path
) -> None:
    data, file = coarsened(animals) if coarse else animals, tmp_path / "split.safetensors"
    split = scenario.prepare(data).split
    file.write_bytes(split_file(split, data))
    assert SavedSplit(0, str(file)).prepare(data).split.digest == split.digest


@pytest.mark.parametrize(
    "scenario",
    [DataEntry(0, count=1), Confusion(0, [0, 1], count=2), Poison(0, count=1), SubclassForgetting(0, ["dog"])],
)
def test_the_split_of_data_that_a_scenario_changed_is_refused(
    scenario: Scenario, animals: Dataset, tmp_path: Path
) -> None:
    problem, file = scenario.prepare(animals), tmp_path / "split.safetensors"
    file.write_bytes(split_file(problem.split, problem.data))
    refused(animals, file, "conflict")


def test_the_split_of_a_run_that_followed_others_is_refused_as_such(animals: Dataset, tmp_path: Path) -> None:
    whole = animals.train
    split = assemble(replace(animals, train=whole[1:]), whole[1:3], torch.zeros(len(animals.labels), dtype=torch.bool))
    (tmp_path / "split.safetensors").write_bytes(split_file(split, animals))  # the data of the whole chain
    (tmp_path / "earlier.safetensors").touch()
    with pytest.raises(UserError, match="after="):
        SavedSplit(0, str(tmp_path / "split.safetensors")).prepare(animals)


def test_the_split_of_a_trial_is_refused(animals: Dataset, tmp_path: Path) -> None:
    thinned, file = ClassForgetting(0, [3]).prepare(animals).thinned(2), tmp_path / "split.safetensors"
    file.write_bytes(split_file(thinned.split, thinned.data))
    refused(animals, file, "conflict")


# Of forgetting dogs, rows 3, 7 and 11, whose test samples are 17 and 18: what cannot be so, with digests that fit.
REST = [0, 1, 2, 4, 5, 6, 8, 9, 10]
ANY_CLASS = {"forget_classes": (), "named_classes": (), "test_forget": [], "test_retain": [14, 15, 16, 17, 18]}
WRONG: dict[str, dict[str, Any]] = {
    "test samples": {"forget": [17, 18]},
    "validation samples": {"forget": [12, 13]},
    "all of train": {"forget": [*range(12)], "retain": []},
    "all of train beside the retain set": {"forget": [*range(12)]},
    "nothing": {"forget": [], "retain": [*range(12)]},
    "nothing of any class": {"forget": [], "retain": [*range(12)], **ANY_CLASS},
    "all of any class": {"forget": [*range(12)], "retain": [], **ANY_CLASS},
    "negative": {"forget": [-1, 3, 7, 11]},
    "out of range": {"forget": [3, 7, 11, 19], "train": [*range(12), 19]},
    "twice": {"forget": [3, 7, 7, 11]},
    "unsorted": {"forget": [7, 3, 11]},
    "unsorted of any class": {"forget": [7, 3, 11], **ANY_CLASS},
    "unsorted test": {"test": [15, 14, 16, 17, 18]},
    "less than train": {"retain": REST[1:]},
    "in both": {"retain": [*REST[:3], 3, *REST[3:]]},
    "validation in train": {"validation": [0, 12, 13]},
    "test in train": {"test": [11, 14, 15, 16, 17, 18], "test_retain": [11, 14, 15, 16]},
    "less than test": {"test_retain": [14, 15]},
    "test samples of another class": {"test_forget": [16], "test_retain": [14, 15, 17, 18]},
    "no test samples": {"test_forget": [], "test_retain": [14, 15, 16, 17, 18]},
    "another class": {"forget_classes": (2,)},
    "another name": {"named_classes": (2,)},
    "both of another": {"forget_classes": (2,), "named_classes": (2,)},
    "more classes": {"forget_classes": (2, 3), "named_classes": (2, 3)},
    "a whole class as a part": {"forget_classes": ()},
    "a part as a whole class": {"forget": [3, 7], "retain": sorted([*REST, 11])},
    "a class that is not there": {"forget_classes": (4,), "named_classes": (4,)},
    "a huge class": {"named_classes": (3, 10**30)},
    "a class twice": {"named_classes": (3, 3)},
    "manipulated without forget": {"manipulated": [3, 7]},
    "manipulated in test": {"manipulated": [3, 7, 11, 14]},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=list(WRONG))
def test_sets_and_classes_that_do_not_fit_are_refused(
    changes: dict[str, Any], animals: Dataset, tmp_path: Path
) -> None:
    lists = {name: torch.tensor(value, dtype=torch.int64) for name, value in changes.items() if type(value) is list}
    split = replace(ClassForgetting(0, [3]).prepare(animals).split, **changes | lists)
    data = replace(animals, train=split.train, validation=split.validation, test=split.test)
    file = tmp_path / "split.safetensors"
    file.write_bytes(split_file(split, data))
    refused(animals, file)


@pytest.mark.parametrize(
    "changes",
    [
        {"test_forget": [17]},  # dogs of the test samples on both sides
        {"named_classes": (0,)},  # insects
        {"forget_classes": (1,)},  # all mammals are said to go
    ],
)
def test_a_split_by_fine_class_is_checked_by_them(changes: dict[str, Any], animals: Dataset, tmp_path: Path) -> None:
    data, file = coarsened(animals), tmp_path / "split.safetensors"
    if "test_forget" in changes:
        changes = {"test_forget": torch.tensor([17]), "test_retain": torch.tensor([14, 15, 16, 18])}
    split = replace(SubclassForgetting(0, ["dog"]).prepare(data).split, **changes)
    file.write_bytes(split_file(split, data))
    refused(data, file)


def test_a_file_that_was_changed_is_refused(animals: Dataset, tmp_path: Path) -> None:
    """Sets and facts that are right by themselves are not those that the run wrote."""
    file = tmp_path / "split.safetensors"
    file.write_bytes(split_file(RandomForgetting(0, count=3).prepare(animals).split, animals))
    with safe_open(file, "pt") as opened:
        facts = opened.metadata()
    sets = {name: ids.clone() for name, ids in RandomForgetting(1, count=3).prepare(animals).split.sets.items()}
    file.write_bytes(save(sets, facts))
    refused(animals, file)


def test_what_does_not_have_the_form_of_a_saved_split_is_refused(animals: Dataset, tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.write_bytes(split_file(ClassForgetting(0, [3]).prepare(animals).split, animals))
    sets = load_file(good)
    with safe_open(good, "pt") as opened:
        facts = opened.metadata()
    classes = "forget_classes"
    broken = {
        "without a set": ({k: v for k, v in sets.items() if k != "forget"}, facts),
        "a set too many": (sets | {"more": sets["forget"].clone()}, facts),
        "no sets": ({}, facts),
        "floats": (sets | {"forget": sets["forget"].double()}, facts),
        "bytes": (sets | {"forget": sets["forget"].to(torch.uint8)}, facts),
        "a matrix": (sets | {"forget": sets["forget"][None].clone()}, facts),
        "a number": (sets | {"forget": torch.tensor(3)}, facts),
        "no facts": (sets, None),
        **{f"without {name}": (sets, {k: v for k, v in facts.items() if k != name}) for name in facts},
        **{
            f"classes {text[:9]}": (sets, facts | {classes: text})
            for text in ("", "3", "{}", "null", "[3", "[true]", "[3.0]", '["3"]', "[[3]]", "[NaN]", "[" * 99_999)
        },
        "a long number": (sets, facts | {classes: f"[{'9' * 5000}]"}),
    }
    for name, content in broken.items():
        file = tmp_path / name
        file.write_bytes(save(*content))
        refused(animals, file)
    for name, raw in {"text": b"forget: 1, 2, 3", "empty": b"", "cut": good.read_bytes()[:-8]}.items():
        file = tmp_path / name
        file.write_bytes(raw)
        refused(animals, file)
    for path in (tmp_path, tmp_path / "none", Path("a\0b")):
        refused(animals, path)
