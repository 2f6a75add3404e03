"""A run can take up the index sets of another."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import composed
from unlearning import pipeline
from unlearning.config.schema import run_key
from unlearning.data.datasets import Dataset, digits
from unlearning.errors import UserError
from unlearning.scenarios.forgetting import ClassForgetting
from unlearning.scenarios.saved import SavedSplit, split_file


@pytest.fixture(scope="module")
def data() -> Dataset:
    return digits(seed=0)


@pytest.fixture
def file(data: Dataset, tmp_path: Path) -> Path:
    file = tmp_path / "split.safetensors"
    file.write_bytes(split_file(ClassForgetting(0, [3]).split(data), data))
    return file


def test_a_split_comes_back_whole_whatever_the_seeds(data: Dataset, file: Path) -> None:
    saved, otherwise = SavedSplit(9, str(file)), digits(seed=5)
    assert not torch.equal(otherwise.train, data.train)
    same = saved.manipulated(otherwise)
    assert same.digest == data.digest
    split = saved.split(same)
    assert (data.labels[split.forget] == 3).all()
    assert split.digest == ClassForgetting(0, [3]).split(data).digest  # the forgotten classes included
    assert split.forget_classes == (3,)


def test_a_run_takes_up_what_another_saved(places: list[str]) -> None:
    quick = ("pretrain.epochs=1", "retrained=false")

    def folder(*overrides: str) -> Path:
        config, choices = composed(
            "method=gradient_ascent", "tracking=none", "pretrain.seed=0", *quick, *overrides, *places
        )
        return pipeline.run(config, choices, command="test")

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
        return run_key(composed("scenario=saved", f"scenario.file={file}")[0])

    copy, other = tmp_path / "copy.safetensors", tmp_path / "other.safetensors"
    copy.write_bytes(file.read_bytes())
    other.write_bytes(split_file(ClassForgetting(0, [4]).split(data), data))
    assert key(file) == key(copy) != key(other)


def test_a_split_of_other_data_is_refused(data: Dataset, file: Path) -> None:
    labels = data.labels.clone()
    labels[0] += 1
    with pytest.raises(UserError, match="a split of other data than digits as it is configured here"):
        SavedSplit(0, str(file)).manipulated(replace(data, labels=labels))


def test_what_is_no_saved_split_is_refused(data: Dataset, tmp_path: Path) -> None:
    text, bare = tmp_path / "text", tmp_path / "bare.safetensors"
    text.write_text("forget: 1, 2, 3")
    save_file({"forget": torch.arange(3)}, bare)
    for file, message in {text: "cannot be read", bare: "holds no split", tmp_path / "none": "cannot be read"}.items():
        with pytest.raises(UserError, match=f"{message}.*: name the split.safetensors of a finished run"):
            SavedSplit(0, str(file)).manipulated(data)
