"""Data sets, the transform, and the datamodule's batches."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms.functional import rotate

from tests.conftest import Tiny, composed
from unlearning.config import build
from unlearning.data.datamodule import Transform, UnlearningData, rotated
from unlearning.data.datasets import Dataset, coarsened, digits, image_folder
from unlearning.errors import UserError
from unlearning.methods.finetune import FineTune


def test_digits_are_split_by_class_and_disjoint() -> None:
    data = digits(seed=0)
    parts = torch.cat([data.train, data.validation, data.test])
    assert len(parts) == len(parts.unique()) == 1797
    shares = torch.stack([data.labels[ids].bincount(minlength=10) / len(ids) for ids in (data.train, data.test)])
    assert (shares[0] - shares[1]).abs().max() < 0.01
    assert digits(seed=0).digest == data.digest
    assert digits(seed=1).digest != data.digest


def test_digits_declare_the_statistics_of_their_pixels() -> None:
    data = digits(seed=0)
    pixels = data.inputs.float() / 255
    assert pixels.mean().item() == pytest.approx(data.mean[0], abs=2e-4)
    assert pixels.std().item() == pytest.approx(data.std[0], abs=2e-4)


def test_what_a_network_sees_decides_the_digest() -> None:
    data = image_data()
    changes = [{"crop": 1}, {"flip": True}, {"mean": (0.5, 0.4, 0.2)}, {"std": (0.2, 0.25, 0.2)}]
    assert len({data.digest, *(replace(data, **change).digest for change in changes)}) == 5


def image_data(crop: int = 0, flip: bool = False) -> Dataset:
    inputs = torch.arange(2 * 5 * 4 * 3, dtype=torch.uint8).view(2, 5, 4, 3)
    ids = torch.arange(2)
    return Dataset("x", inputs, ids, ("a", "b"), ids, ids[:0], ids, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), crop, flip)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"crop": -1}, "dataset.crop=-1 must be at least 0"),
        ({"rotation": -10.0}, "dataset.rotation=-10.0 must lie in [0, 180] degrees"),
        ({"rotation": 181.0}, "dataset.rotation=181.0 must lie in [0, 180] degrees"),
        ({"rotation": float("nan")}, "dataset.rotation=nan must lie"),
        ({"mean": (0.5, 0.5)}, "dataset.mean=[0.5, 0.5] must have 3 numbers, one for each channel"),
        ({"std": (0.5,)}, "dataset.std=[0.5] must have 3 numbers"),
        ({"std": (0.5, 0.0, 0.5)}, "dataset.std=[0.5, 0.0, 0.5] must be above 0"),
        ({"std": (0.5, float("nan"), 0.5)}, "must be above 0"),
    ],
)
def test_statistics_and_augmentation_that_do_not_fit_are_refused(change: dict, expected: str) -> None:
    with pytest.raises(UserError, match=re.escape(expected)):
        replace(image_data(), **change)


def test_the_transform_normalises_by_channel() -> None:
    data = image_data()
    found = Transform(data)(data.inputs)
    assert found.shape == (2, 3, 5, 4)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert found[1, 2, 3, 1].item() == pytest.approx((int(data.inputs[1, 3, 1, 2]) / 255 - 0.3) / 0.3, rel=1e-5)


def test_augmentation_crops_and_flips_each_sample_by_itself() -> None:
    data = image_data(crop=1, flip=True)
    torch.manual_seed(0)
    many = data.inputs[:1].expand(300, -1, -1, -1)
    found = Transform(data).augmented(many)
    padded = torch.nn.functional.pad(data.inputs[0], (0, 0, 1, 1, 1, 1))
    windows = [padded[y : y + 5, x : x + 4] for y in range(3) for x in range(3)]
    expected = [w.flatten().tolist() for window in windows for w in (window, window.flip(1))]
    counts = [sum(image.flatten().tolist() == e for image in found) for e in expected]
    assert sum(counts) == 300  # every image is one of the 18 crops and mirrored crops
    assert min(counts) > 0  # and each of them occurs


def test_without_flip_nothing_is_mirrored() -> None:
    data = image_data(crop=0, flip=False)
    assert torch.equal(Transform(data)(data.inputs, augment=True), Transform(data)(data.inputs))


def test_rotation_is_that_of_torchvision_for_each_sample() -> None:
    torch.manual_seed(0)
    angles = 40 * torch.rand(50) - 20  # no place is as near to one pixel as to another
    image = torch.arange(1, 7 * 6 + 1, dtype=torch.uint8).view(7, 6)
    rows, columns, outside = rotated(7, 6, angles.view(-1, 1, 1))
    found = image[rows, columns].masked_fill(outside, 0)
    expected = torch.stack([rotate(image[None], angle)[0] for angle in angles.tolist()])
    assert torch.equal(found, expected)
    assert outside.any()


def test_augmentation_rotates_what_is_cropped_and_flipped() -> None:
    data = replace(image_data(crop=1, flip=True), rotation=30.0)
    many = data.inputs[1:].expand(20, -1, -1, -1)
    torch.manual_seed(0)
    upright = Transform(replace(data, rotation=0.0)).augmented(many)  # the same crops and flips
    angles = (2 * torch.rand(20) - 1) * 30
    expected = [rotate(i.permute(2, 0, 1), a).permute(1, 2, 0) for i, a in zip(upright, angles.tolist(), strict=True)]
    torch.manual_seed(0)
    assert torch.equal(Transform(data).augmented(many), torch.stack(expected))
    assert angles.min() < -20 < 20 < angles.max()


def test_models_of_other_pixels_are_others() -> None:
    data = image_data()
    others = [replace(data, **{k: v}) for k, v in (("crop", 1), ("flip", True), ("rotation", 1.0), ("std", (1.0,) * 3))]
    assert len({one.digest for one in [data, *others]}) == 5


def test_no_batch_of_one_reaches_batchnorm(tiny: Tiny) -> None:
    method = FineTune(nn.Sequential(tiny.model, nn.BatchNorm1d(2)), batch_size=3)
    data = UnlearningData(tiny.data, tiny.split, tiny.task())
    data.trainer = SimpleNamespace(world_size=1)
    assert [len(b.ids) for b in data.loader("train", method)] == [3]  # 4 = 3 + a lone 1, which is left out
    assert data.steps("train", method) == 1
    data.trainer.world_size = 2  # two of the four each, in batches of one
    with pytest.raises(UserError, match="the train stream comes in batches of one sample"):
        data.loader("train", method)
    method.batch_norm = "eval"
    assert data.steps("train", method) == 2
    data.trainer.world_size = 1
    assert sorted(len(b.ids) for b in data.loader("train", method)) == [1, 3]
    assert data.steps("train", FineTune(tiny.model, batch_size=3)) == 2  # without BatchNorm


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_that_share_a_batch_of_all_samples_take_one_step(tiny: Tiny, processes: int) -> None:
    method = FineTune(tiny.model, batch_size=100)  # 4 samples: a process has all, two, or, padded, two
    data = UnlearningData(tiny.data, tiny.split, tiny.task())
    data.trainer = SimpleNamespace(world_size=processes)
    assert data.steps("train", method) == 1


def test_a_share_of_retain_is_the_same_every_time(tiny: Tiny) -> None:
    data = UnlearningData(tiny.data, tiny.split, tiny.task())
    share = data.stream("retain", 0.5)
    assert len(share) == 1
    assert torch.equal(share, data.stream("retain", 0.5))
    assert data.stream("train", 0.5).tolist() == sorted([0, 1, *share.tolist()])


def test_what_the_original_learns_is_in_the_same_order_whatever_will_be_forgotten() -> None:
    streams = [
        UnlearningData(data := build.dataset(config), build.split(config, data), None).stream("train")
        for config in (composed(f"scenario={scenario}")[0] for scenario in ("class", "random"))
    ]
    assert torch.equal(*streams)


def test_superclasses_relabel_and_keep_the_fine_classes() -> None:
    data = digits(seed=0, superclasses={"round": [0, 6, 8, 9], "straight": ["one", 4, 7], "curved": [2, 3, 5]})
    found = coarsened(data)
    assert found.classes == ("round", "straight", "curved")
    assert torch.equal(found.fine_labels, data.labels)
    assert set(found.labels[data.labels == 4].tolist()) == {1}
    with pytest.raises(UserError, match="each of the 10 classes"):
        coarsened(digits(seed=0, superclasses={"round": [0], "rest": [1, 2, 3]}))
    assert coarsened(found) is found


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
    stamp = array.stat().st_mtime_ns
    assert load(folder).digest == data.digest
    assert array.stat().st_mtime_ns == stamp
    assert not caplog.text
    array.write_bytes(array.read_bytes()[:-100])  # a truncated cache is decoded again
    assert load(folder).digest == data.digest
    assert f"{array} is corrupt (its checksum does not match): making it again" in caplog.text


def test_a_cache_that_cannot_be_written(folder: Path) -> None:
    (folder.parent / "cache").touch()
    with pytest.raises(UserError, match=r"cannot write decoded images to .*cache \(.*exists.*: set paths\.store=DIR"):
        load(folder)


def test_limit_takes_some_of_each_class_and_part(folder: Path) -> None:
    data = load(folder, limit=3, validation=0.0)
    assert data.labels[data.train].tolist() == [0] * 3 + [1] * 3
    assert data.labels[data.test].tolist() == [0] * 3 + [1] * 3
    assert len(load(folder, limit=5).test) == 8  # it has four of each
    for limit in (0, -1):
        with pytest.raises(UserError, match=f"dataset.limit={limit} must be at least 1, or null for all"):
            load(folder, limit=limit)


def test_folders_may_be_fine_classes(folder: Path) -> None:
    data = coarsened(load(folder, superclasses={"pet": ["cat", "dog"]}))
    assert data.classes == ("pet",)
    assert data.fine_classes == ("cat", "dog")
    assert torch.equal(data.fine_labels, load(folder).labels)


def test_a_changed_image_is_decoded_anew(folder: Path) -> None:
    before = load(folder).digest
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(folder / "train" / "cat" / "0.png")
    assert load(folder).digest != before


def test_a_broken_image_is_named(folder: Path) -> None:
    (folder / "train" / "cat" / "0.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"cat/0\.png is not a readable image"):
        load(folder)


def test_missing_data_says_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="put them in"):
        load(tmp_path / "nowhere")
    import urllib.request

    def offline(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    config, _ = composed("dataset=cifar100", f"paths.root={tmp_path}")
    with pytest.raises(UserError, match=r"put cifar-100-python/ .* there, or set dataset\.root"):
        build.dataset(config)
