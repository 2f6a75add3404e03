"""MedMNIST's files: parts, labels, channels, and what is said where a file is missing or of another form."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import composed
from unlearning.config.build import Spec
from unlearning.data.datasets import Dataset
from unlearning.data.medmnist_sets import medmnist
from unlearning.engine.job import Job
from unlearning.errors import UserError
from unlearning.scenarios.base import check_whole
from unlearning.scenarios.forgetting import ClassForgetting

SIZES = {"train": 12, "val": 3, "test": 6}


@pytest.fixture(autouse=True)
def without_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "medmnist", None)  # importing it raises ImportError


def arrays(colours: int = 0, side: int = 28, labels: int = 1) -> dict[str, np.ndarray]:
    generator, found = np.random.default_rng(0), {}
    for part, count in SIZES.items():
        shape = (count, side, side, *([colours] if colours else []))
        found[f"{part}_images"] = generator.integers(0, 256, shape, dtype=np.uint8)
        found[f"{part}_labels"] = np.arange(count * labels).reshape(count, labels).astype(np.uint8) % 3
    return found


def saved(folder: Path, name: str = "bloodmnist.npz", **options: int) -> dict[str, np.ndarray]:
    found = arrays(**options)
    np.savez_compressed(folder / name, **found)
    return found


def test_the_three_parts_are_its_own(tmp_path: Path) -> None:
    raw = saved(tmp_path, colours=3)
    data = medmnist("bloodmnist", str(tmp_path))
    assert [ids.tolist() for ids in (data.train, data.validation, data.test)] == [
        [*range(12)],
        [12, 13, 14],
        [*range(15, 21)],
    ]
    np.testing.assert_array_equal(data.inputs[data.test].numpy(), raw["test_images"])
    assert data.labels.tolist() == [0, 1, 2] * 4 + [0, 1, 2] + [0, 1, 2] * 2
    assert data.classes == ("0", "1", "2")
    assert (data.mean, data.std, data.input_shape) == ((0.5,) * 3, (0.5,) * 3, (3, 28, 28))
    assert data.undivided.digest == data.digest  # neither validation nor test samples were drawn
    whole = ClassForgetting(0, [1]).prepare(data).split.forget
    assert check_whole(ClassForgetting(0, [1]), data, whole) == 4


def test_grey_and_rgb_as_the_network_wants(tmp_path: Path) -> None:
    raw = saved(tmp_path, "grey.npz")
    grey, rgb = (medmnist("grey", str(tmp_path), channels=channels) for channels in (None, 3))
    assert (grey.input_shape, rgb.input_shape) == ((1, 28, 28), (3, 28, 28))
    np.testing.assert_array_equal(grey.inputs[0, ..., 0].numpy(), raw["train_images"][0])
    assert torch.equal(rgb.inputs, grey.inputs.expand(-1, -1, -1, 3))
    coloured = arrays(colours=3)
    coloured["train_images"][0, 0, 0] = 100, 200, 50
    np.savez(tmp_path / "rgb.npz", **coloured)
    lightness = medmnist("rgb", str(tmp_path), channels=1, mean=[0.4], std=[0.2]).inputs
    assert lightness[0, 0, 0].item() == 153  # .299 * 100 + .587 * 200 + .114 * 50 = 153.0
    assert lightness.dtype == torch.uint8


def test_other_sizes_and_the_file_itself(tmp_path: Path) -> None:
    saved(tmp_path, "bloodmnist_64.npz", side=64)
    by_folder, by_file = (medmnist("bloodmnist", str(p), 64) for p in (tmp_path, tmp_path / "bloodmnist_64.npz"))
    assert by_folder.input_shape == (1, 64, 64)
    assert by_folder.digest == by_file.digest


def spoiled(**changes: Any) -> dict[str, np.ndarray]:
    return {name: array for name, array in (arrays() | changes).items() if array is not None}


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (b"", "dataset.root"),
        (b"not a file of numpy", "dataset.root"),
        (spoiled(val_labels=None), "dataset.root"),
        (spoiled(train_images=np.zeros((12, 28, 28), np.float32)), "dataset.flag"),
        (spoiled(train_images=np.zeros((12, 28, 28, 28), np.uint8)), "dataset.flag"),  # volumes
        (spoiled(train_labels=np.zeros((12, 14), np.uint8)), "dataset.flag"),  # chestmnist has 14 labels
        (spoiled(train_images=np.array([object()])), "dataset.root"),  # a pickle is not read
    ],
)
def test_a_file_of_another_form_is_refused(content: Any, key: str, tmp_path: Path) -> None:
    file = tmp_path / "bloodmnist.npz"
    file.write_bytes(content) if isinstance(content, bytes) else np.savez(file, **content)
    with pytest.raises(UserError) as caught:
        medmnist("bloodmnist", str(tmp_path))
    assert (caught.value.key, caught.value.kind) == (key, "file")
    assert "\n" not in str(caught.value)


def test_a_missing_file_without_the_package(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        medmnist("bloodmnist", str(tmp_path))
    assert (caught.value.key, caught.value.kind) == ("dataset.root", "file")
    assert "pip install medmnist" in str(caught.value)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], list[dict[str, Any]]]:
    """A stand-in with the interface of medmnist 3: it notes the calls, and writes the file or fails as that does."""

    def install(works: bool) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = []

        def blood(**options: Any) -> None:
            calls.append(options)
            if not works:
                raise RuntimeError("\n  Automatic download failed!\n  1. Check\n")
            saved(Path(options["root"]))

        names = {"0": "basophil", "1": "eosinophil", "2": "erythroblast", "3": "platelet"}
        info = {"bloodmnist": {"python_class": "BloodMNIST", "label": names}}
        monkeypatch.setitem(sys.modules, "medmnist", SimpleNamespace(INFO=info, BloodMNIST=blood))
        return calls

    return install


def test_the_package_fetches_a_file_and_knows_its_classes(
    package: Callable[[bool], list[dict[str, Any]]], tmp_path: Path
) -> None:
    calls = package(True)
    data: Dataset = medmnist("bloodmnist", str(tmp_path / "new"))
    assert calls == [{"split": "test", "download": True, "root": str(tmp_path / "new"), "size": 28}]
    assert data.classes == ("basophil", "eosinophil", "erythroblast", "platelet")
    medmnist("bloodmnist", str(tmp_path / "new"))
    assert len(calls) == 1  # the file is there


@pytest.mark.parametrize(("flag", "key", "kind"), [("bloodmnist", "root", "file"), ("bloodminst", "flag", "choice")])
def test_what_the_package_cannot_fetch_is_one_line(
    flag: str, key: str, kind: str, package: Callable[[bool], list[dict[str, Any]]], tmp_path: Path
) -> None:
    package(False)
    with pytest.raises(UserError) as caught:
        medmnist(flag, str(tmp_path))
    assert (caught.value.key, caught.value.kind) == (f"dataset.{key}", kind)
    assert "\n" not in str(caught.value)


def test_a_run_on_it_composes(tmp_path: Path) -> None:
    saved(tmp_path, colours=3)
    words = ["dataset=medmnist", "dataset.flag=bloodmnist", f"dataset.root={tmp_path}", "scenario.classes=[1]"]
    config, choices = composed(*words, "tracking=none", "method=finetune")
    assert (choices["model"], choices["pretrain"]) == ("allcnn", "medmnist")
    job = Job.of(config)
    assert len(job.problem.split.forget) == 4
    assert job.network().eval()(torch.zeros(2, 3, 28, 28)).shape == (2, 3)
    with pytest.raises(UserError) as caught:
        Spec("dataset", config["dataset"] | {"size": 32}).build()
    assert caught.value.key == "dataset.size"
