"""Data sets on disk: image folders, and those of torchvision."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.datasets
from PIL import Image

from tests.conftest import composed
from unlearning.config.build import Spec
from unlearning.data.datasets import Dataset, coarsened
from unlearning.data.image_folder import image_folder
from unlearning.data.torchvision_sets import SOURCES, Source
from unlearning.data.torchvision_sets import torchvision as torchvision_set
from unlearning.errors import UserError
from unlearning.runtime.digests import content_digest
from unlearning.scenarios.forgetting import RandomForgetting
from unlearning.scenarios.saved import SavedSplit, split_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part, count in (("train", 10), ("test", 4)):
        for label, value in (("cat", 40), ("dog", 200)):
            (tmp_path / "pets" / part / label).mkdir(parents=True)
            for i in range(count):
                image = np.full((20, 30, 3), value + i, np.uint8)
                Image.fromarray(image).save(tmp_path / "pets" / part / label / f"{i}.png")
    return tmp_path / "pets"


def load(folder: Path, **options: object) -> Dataset:
    options = {"seed": 0, "size": 16, "mean": [0.5] * 3, "std": [0.25] * 3, "validation": 0.2} | options
    return image_folder("image_folder", str(folder), str(folder.parent / "cache"), **options)


def test_an_image_folder_is_decoded_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = load(folder)
    assert data.inputs.shape == (28, 16, 16, 3)
    assert data.classes == ("cat", "dog")
    assert [len(ids) for ids in (data.train, data.validation, data.test)] == [16, 4, 8]
    assert data.inputs[3].unique().tolist() == [43]
    array = next((folder.parent / "cache").glob("*.npy"))
    made = array.stat().st_ino  # its time is that of its last use
    assert load(folder).digest == data.digest
    assert array.stat().st_ino == made
    assert not caplog.text
    array.write_bytes(array.read_bytes()[:-100])  # a truncated cache is decoded again
    assert load(folder).digest == data.digest
    assert f"{array} is corrupt (its checksum does not match): making it again" in caplog.text


def test_each_class_keeps_its_share_in_what_is_held_out_and_in_a_saved_split(tmp_path: Path) -> None:
    """Of 40, 20 and 10 images a fifth is for tests, and of the other 32, 16 and 8 a quarter for validation."""
    for label, count in {"ant": 40, "bee": 20, "cow": 10}.items():
        (tmp_path / "animals" / label).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (2, 2), (i, 0, 0)).save(tmp_path / "animals" / label / f"{i}.png")

    def drawn(seed: int) -> Dataset:
        return load(tmp_path / "animals", seed=seed, size=2, test=0.2, validation=0.25)

    def counts(data: Dataset) -> list[list[int]]:
        return [data.labels[ids].bincount(minlength=3).tolist() for ids in (data.train, data.validation, data.test)]

    data, otherwise = drawn(0), drawn(1)
    assert not torch.equal(data.test, otherwise.test)
    assert counts(data) == counts(otherwise) == [[24, 12, 6], [8, 4, 2], [8, 4, 2]]
    saved = tmp_path / "split.safetensors"
    saved.write_bytes(split_file(RandomForgetting(0, count=5).prepare(data).split, data))
    found = SavedSplit(0, str(saved)).prepare(otherwise).data
    assert torch.equal(found.test, data.test)
    assert counts(found) == counts(data)


def test_a_folder_of_validation_images_is_the_validation_set(folder: Path) -> None:
    for label in ("cat", "dog"):
        (folder / "validation" / label).mkdir(parents=True)
        (folder / "train" / label / "3.png").rename(folder / "validation" / label / "3.png")
    data = load(folder, validation=0.5)
    files = [str(data.metadata.columns["file"][i]) for i in data.validation]
    assert files == ["validation/cat/3.png", "validation/dog/3.png"]
    assert [len(ids) for ids in (data.train, data.test)] == [18, 8]
    assert len(data.undivided.train) == 18  # a model of the user's own has not learned them


def test_a_cache_that_cannot_be_written(folder: Path) -> None:
    (folder.parent / "cache").touch()
    with pytest.raises(UserError) as caught:
        load(folder)
    assert (caught.value.key, caught.value.kind) == ("paths.store", "storage")


def test_limit_takes_some_of_each_class_and_part_and_says_so(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = load(folder, limit=3, validation=0.0)
    assert "leaves out 16 of 28 images" in caplog.text  # of two classes, each with 10 and 4
    assert data.labels[data.train].tolist() == [0] * 3 + [1] * 3
    assert data.labels[data.test].tolist() == [0] * 3 + [1] * 3
    assert len(load(folder, limit=5).test) == 8  # it has four of each


def test_folders_may_be_fine_classes(folder: Path) -> None:
    data = coarsened(load(folder, superclasses={"pet": ["cat", "dog"]}))
    assert data.classes == ("pet",)
    assert data.fine_classes == ("cat", "dog")
    assert torch.equal(data.fine_labels, load(folder).labels)


def test_a_changed_image_is_decoded_anew(folder: Path) -> None:
    before = load(folder).digest
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(folder / "train" / "cat" / "0.png")
    assert load(folder).digest != before


def test_images_of_equal_size_and_time_that_are_exchanged_are_decoded_anew(folder: Path) -> None:
    """As after unpacking an archive, which gives all files one time."""
    one, two = folder / "train" / "cat" / "0.bmp", folder / "train" / "dog" / "0.bmp"
    for value, file in ((0, one), (255, two)):
        Image.fromarray(np.full((20, 30, 3), value, np.uint8)).save(file)
        os.utime(file, (1000, 1000))
    before, listed = load(folder).digest, content_digest(folder)
    spare = folder / "spare"
    one.rename(spare)
    two.rename(one)
    spare.rename(two)
    assert load(folder).digest != before
    assert content_digest(folder) != listed


def test_a_broken_image_is_named(folder: Path) -> None:
    (folder / "train" / "cat" / "0.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"cat/0\.png") as caught:
        load(folder)
    assert (caught.value.key, caught.value.kind) == ("dataset.root", "file")


@pytest.mark.parametrize("made", [[], ["test/cat", "test/dog"], ["cat"], ["train/cat", "test/cat"]])
def test_a_folder_without_two_classes_of_images(tmp_path: Path, made: list[str]) -> None:
    for name in made:
        (tmp_path / "own" / name).mkdir(parents=True)
        Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "own" / name / "0.png")
    with pytest.raises(UserError) as caught:
        load(tmp_path / "own")
    assert (caught.value.key, caught.value.kind) == ("dataset.root", "file")


# Data sets of torchvision


def test_missing_data_says_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import urllib.request

    def offline(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    config, _ = composed("dataset=cifar100", f"paths.root={tmp_path}")
    with pytest.raises(UserError, match=r"put cifar-100-python\.tar\.gz there") as caught:
        Spec("dataset", config["dataset"]).build()
    assert (caught.value.key, caught.value.kind) == ("dataset.root", "file")


class Raw:
    """A data set as torchvision returns it: pixel (n, y, x, c) is n + 10 y + 100 x + 3 c, modulo 256."""

    def __init__(self, source: Source, train: bool) -> None:
        n = 20 if train else 10
        labels = [i % 10 for i in range(n)]
        grey = source.axes == "NHW"
        n, y, x, c = np.ogrid[:n, :2, :2, : 1 if grey else 3]
        pixels = ((n + 10 * y + 100 * x + 3 * c) % 256).astype(np.uint8)
        if source.kind == "SVHN":
            self.data, self.labels = pixels.transpose(0, 3, 1, 2), np.array(labels)
        elif grey:  # MNIST and the like: tensors without a dimension of channels
            self.data, self.targets = torch.from_numpy(pixels[..., 0]), torch.tensor(labels)
            self.classes = [f"{i} - name{i}" for i in range(10)]
        else:
            self.data, self.targets, self.classes = pixels, labels, [f"name{i}" for i in range(10)]


@pytest.mark.parametrize("name", SOURCES)
def test_the_sets_of_torchvision_become_one_record(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = SOURCES[name]

    parts = {"split": {"train": True, "test": False}} if name == "svhn" else {"train": {True: True, False: False}}

    def make(root: Path, download: bool, **part: object) -> Raw:
        assert download
        ((key, value),) = part.items()
        return Raw(source, train=parts[key][value])

    monkeypatch.setattr(torchvision.datasets, source.kind, make)
    channels = 1 if source.axes == "NHW" else 3
    data = torchvision_set(name, str(tmp_path), 0, [0.5] * channels, [0.25] * channels, validation=0.5)
    assert data.inputs.shape == (30, 2, 2, channels)
    assert data.inputs[3, 1, 0].tolist() == [3 + 10 + 3 * c for c in range(channels)]
    assert data.inputs[22, 0, 1].tolist() == [2 + 100 + 3 * c for c in range(channels)]
    assert data.labels.tolist() == [i % 10 for i in range(20)] + list(range(10))
    assert data.classes == (tuple("0123456789") if name == "svhn" else tuple(f"name{i}" for i in range(10)))
    assert torch.cat([data.train, data.validation]).sort().values.tolist() == list(range(20))
    assert data.test.tolist() == list(range(20, 30))


def test_a_set_can_be_labelled_by_super_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", lambda root, download, train: Raw(SOURCES["cifar10"], train))
    groups = {"low": range(5), "high": range(5, 10)}
    data = torchvision_set("cifar10", str(tmp_path), 0, [0.5] * 3, [0.25] * 3, 0.5, superclasses=groups, coarse=True)
    assert data.classes == ("low", "high")
    assert data.labels[:10].tolist() == [0] * 5 + [1] * 5
    assert data.fine_labels[:10].tolist() == list(range(10))


@pytest.mark.parametrize("kind", ["fundus", "oct", "mri", "ultrasound", "xray"])
def test_clinical_images_are_folders_of_large_padded_squares(kind: str, tmp_path: Path) -> None:
    config, choices = composed(f"dataset={kind}", f"dataset.root={tmp_path}", "model.pretrained=true", "tracking=none")
    assert (choices["model"], choices["pretrain"]) == ("resnet50_imagenet", kind)
    data, recipe = config["dataset"], config["pretrain"]
    assert (data["size"], data["fit"], data["name"]) == (512, "pad", kind)
    assert data["mean"] == [0.485, 0.456, 0.406]  # of ImageNet
    assert (recipe["optimizer"]["lr"], recipe["epochs"], recipe["batch_size"]) == (1e-3, 15, 16)
