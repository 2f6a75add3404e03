"""A run can take up the index sets of another."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import composed
from unlearning import pipeline
from unlearning.data.datasets import Dataset
from unlearning.data.digits import digits
from unlearning.errors import UserError
from unlearning.request import Request
from unlearning.scenarios.forgetting import ClassForgetting
from unlearning.scenarios.manipulations import DataEntry
from unlearning.scenarios.saved import SavedSplit, split_file


@pytest.fixture(scope="module")
def data() -> Dataset:
    return digits(seed=0)


@pytest.fixture
def file(data: Dataset, tmp_path: Path) -> Path:
    file = tmp_path / "split.safetensors"
    file.write_bytes(split_file(ClassForgetting(0, [3]).prepare(data).split, data))
    return file


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


def test_a_split_of_other_data_is_refused(data: Dataset, file: Path) -> None:
    wrong = DataEntry(0, count=1).prepare(data).data
    with pytest.raises(UserError) as refused:
        SavedSplit(0, str(file)).prepare(replace(data, labels=wrong.labels))
    assert (refused.value.key, refused.value.kind) == ("scenario.file", "conflict")


def test_what_is_not_a_saved_split_is_refused(data: Dataset, tmp_path: Path) -> None:
    text, bare = tmp_path / "text", tmp_path / "bare.safetensors"
    text.write_text("forget: 1, 2, 3")
    save_file({"forget": torch.arange(3)}, bare)
    for file in (text, bare, tmp_path / "none"):
        with pytest.raises(UserError) as refused:
            SavedSplit(0, str(file)).prepare(data)
        assert (refused.value.key, refused.value.kind) == ("scenario.file", "file")
        assert str(file) in str(refused.value)
