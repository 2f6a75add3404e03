"""``python -m unlearning.store``: what is there, what is trimmed, and that nothing made of purged data is left."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image

from tests.command_line import Done
from unlearning.data.datasets import Dataset
from unlearning.data.image_folder import image_folder
from unlearning.engine.key import Key
from unlearning.engine.store import Store
from unlearning.store.command import main, size
from unlearning.store.contents import items
from unlearning.verify.command import main as verify


def folder(top: Path, name: str, shade: int) -> Path:
    """A folder of four images, in which each class has 0.png."""
    for label in ("cat", "dog"):
        (top / name / label).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (4, 4), (shade + number,) * 3).save(top / name / label / f"{number}.png")
    return top / name


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with the pixels of two folders, a model and predictions of each, and a model of other data."""
    root = tmp_path / "store"
    for shade, name in enumerate(("mine", "yours")):
        data = image_folder(
            name, str(folder(tmp_path, name, 100 * shade)), str(root / "images"), 0, 4, [0.5] * 3, [0.5] * 3, 0.0, 0.5
        )
        Store(root).note(data)
        keep(root, "models", data.digest)
        keep(root, "predictions", data.digest)
    keep(root, "models", "of something else")
    return root


def keep(root: Path, kind: str, digest: str) -> None:
    """Put an entry into a store that was made of the samples of that digest."""
    Store(root).get_or_create(kind, Key({"data": {"samples": digest}}), lambda: ({"weight w": torch.ones(3)}, {}))


def there(root: Path) -> dict[str, int]:
    """The number of entries in a store by the last name of their folder."""
    found: dict[str, int] = {}
    for item in items(root):
        name = Path(item.folders[0]).name if item.folders else "?"
        found[name] = found.get(name, 0) + 1
    return found


def call(root: Path, *words: str) -> int:
    return main([*words, "--store", str(root)])


def test_what_is_there_is_listed_by_data_set(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert there(store) == {"mine": 3, "yours": 3, "?": 1}
    assert call(store, "ls") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    found = {(row[4], Path(row[-1]).name) for row in rows}
    assert found == {(k, n) for k in ("images", "models", "predictions") for n in ("mine", "yours")} | {
        ("models", "folder")  # unknown, or no folder
    }


def test_a_data_set_is_purged_and_all_that_was_made_of_it(store: Path, tmp_path: Path) -> None:
    assert call(store, "purge", "--dataset", str(tmp_path / "mine"), "--dry-run") == 0
    assert there(store) == {"mine": 3, "yours": 3, "?": 1}
    assert call(store, "purge", "--dataset", str(tmp_path / "mine")) == 0
    assert there(store) == {"yours": 3, "?": 1}
    assert not [file for file in store.rglob("*") if file.is_file() and b"mine" in file.read_bytes()]
    assert len(list((store / "datasets").iterdir())) == 1


def test_a_data_set_is_known_by_any_way_to_it(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert call(store, "purge", "--dataset", "link") == 0
    assert there(store) == {"yours": 3, "?": 1}
    assert call(store, "purge", "--dataset", str(tmp_path / "yours" / "cat")) == 0  # a part of it
    assert there(store) == {"?": 1}


@pytest.mark.parametrize(
    ("entry", "left"),
    [
        ("{top}/mine/cat/1.png", {"yours": 3, "?": 1}),
        ("mine/dog/*", {"yours": 3, "?": 1}),
        ("cat/1.png", {"?": 1}),  # both folders have it
        ("0.png", {"?": 1}),  # two images of each
        ("cat/7.png", {"mine": 3, "yours": 3, "?": 1}),
    ],
)
def test_data_sets_with_listed_files_are_purged_though_the_files_are_gone(
    entry: str, left: dict[str, int], store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in tmp_path.glob("mine/*/*.png"):
        file.unlink()
    (tmp_path / "delete.txt").write_text(entry.format(top=tmp_path))
    assert call(store, "purge", "--list", str(tmp_path / "delete.txt")) == (entry == "cat/7.png")
    assert there(store) == left
    assert ("in no data set of the store: 1" in capsys.readouterr().out) == (entry == "cat/7.png")


@pytest.mark.parametrize("name", ["", "mine/..", "mne", "min"])
def test_a_folder_that_the_store_does_not_know_or_one_around_it_is_refused(
    name: str, store: Path, tmp_path: Path
) -> None:
    assert call(store, "purge", "--dataset", str(tmp_path / name)) == 1
    assert there(store) == {"mine": 3, "yours": 3, "?": 1}


def test_ids_are_said_not_to_be_found(store: Path, tmp_path: Path) -> None:
    (tmp_path / "ids.json").write_text("[7, 8]")
    assert call(store, "purge", "--list", str(tmp_path / "ids.json")) == 1


def test_what_a_killed_process_left_of_the_pixels_is_purged(store: Path, tmp_path: Path) -> None:
    (array,) = (item.path for item in items(store) if item.kind == "images" and "mine" in item.folders[0])
    os.replace(array, array.with_name(f".{array.stem}.tmp"))
    array.with_suffix(".sha256").unlink()
    assert call(store, "purge", "--dataset", str(tmp_path / "mine")) == 0
    assert not list((store / "images").glob(f".{array.stem}.tmp"))


def test_what_a_killed_process_left_of_a_model_is_listed_and_trimmed(store: Path) -> None:
    """Of whose data it is, cannot be read from half a file."""
    rest = store / "unfinished" / ".abc.safetensors.123.tmp"
    rest.parent.mkdir()
    rest.write_bytes(b"half of it")
    assert there(store)["?"] == 2
    assert call(store, "gc", "--older-than", "0") == 0
    assert not rest.exists()


def test_what_is_in_use_stays_and_is_said(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (array,) = (item.path for item in items(store) if item.kind == "images" and "mine" in item.folders[0])
    with FileLock(array.with_suffix(".lock")):
        assert call(store, "purge", "--dataset", str(tmp_path / "mine")) == 1
    assert str(array) in capsys.readouterr().err
    assert there(store) == {"mine": 1, "yours": 3, "?": 1}
    assert call(store, "purge", "--dataset", str(tmp_path / "mine")) == 0
    assert there(store) == {"yours": 3, "?": 1}


def test_names_are_known_until_nothing_is_left_that_was_made_of_them(store: Path, tmp_path: Path) -> None:
    (array,) = (item for item in items(store) if item.kind == "images" and "mine" in item.folders[0])
    for file in array.files:
        os.utime(file, (0, 0))
    (tmp_path / "delete.txt").write_text("mine/cat/1.png")
    purge = ("purge", "--list", str(tmp_path / "delete.txt"))
    assert call(store, "gc", "--older-than", "5") == 0
    assert there(store) == {"mine": 2, "yours": 3, "?": 1}
    model = next(item.path for item in items(store) if item.kind == "models" and "mine" in str(item.folders))
    with FileLock(model.with_name(f".{model.name}.lock")):
        assert call(store, *purge) == 1
    assert there(store) == {"mine": 1, "yours": 3, "?": 1}
    assert call(store, *purge) == 0
    assert there(store) == {"yours": 3, "?": 1}
    assert not [file for file in store.rglob("*.json") if b"mine" in file.read_bytes()]


def test_what_a_run_makes_after_a_purge_is_found_by_the_next(tmp_path: Path) -> None:
    root = tmp_path / "store"
    data = image_folder(
        "mine", str(folder(tmp_path, "mine", 0)), str(root / "images"), 0, 4, [0.5] * 3, [0.5] * 3, 0.0, 0.5
    )
    (tmp_path / "delete.txt").write_text("cat/1.png")
    for _ in range(2):
        Store(root).note(data)
        keep(root, "models", data.digest)
        assert there(root)["mine"] > 0
        assert call(root, "purge", "--list", str(tmp_path / "delete.txt")) == 0
        assert there(root) == {}
        assert not list(root.rglob("*.json"))


def test_old_entries_and_the_surplus_are_trimmed(store: Path) -> None:
    found = sorted(items(store), key=lambda item: (item.kind, item.path))
    for age, item in enumerate(found):  # the images are the newest
        for file in item.files:
            os.utime(file, (time.time() - 86400 * (age + 0.5),) * 2)
    assert call(store, "gc", "--older-than", "5") == 0
    assert sorted(item.path for item in items(store)) == sorted(item.path for item in found[:5])
    assert call(store, "gc", "--larger-than", str(found[0].size + found[1].size)) == 0
    assert sorted(item.path for item in items(store)) == sorted(item.path for item in found[:2])
    assert call(store, "gc", "--older-than", "0") == 0
    assert there(store) == {}


def test_sizes() -> None:
    assert [size(text) for text in ("7", "2k", "1.5M", "20GB")] == [7, 2048, 1.5 * 2**20, 20 * 2**30]


@pytest.mark.parametrize(
    "words", ["gc", "purge", "gc --dataset x", "ls --older-than 3", "purge --larger-than 3G", "gc --larger-than big"]
)
def test_wrong_usage(words: str, store: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        call(store, *words.split())
    assert caught.value.code == 2


def test_a_store_or_a_list_that_is_not_there(store: Path, tmp_path: Path) -> None:
    assert call(tmp_path / "none", "ls") == 1
    assert call(store, "purge", "--list", str(tmp_path / "none.txt")) == 1


def test_a_runs_folder_loses_what_shows_or_names_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("results.json", "gallery.png", "log.txt", "split.safetensors"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "other").mkdir()
    assert main(["purge", "--run", str(tmp_path), str(tmp_path / "other")]) == 1  # which is no run
    assert main(["purge", "--run", str(tmp_path), "--dry-run"]) == 0
    assert (tmp_path / "gallery.png").exists()
    assert main(["purge", "--run", str(tmp_path)]) == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["other", "results.json", "split.safetensors"]
    assert "removed gallery.png, log.txt" in capsys.readouterr().out


def test_what_is_used_again_counts_as_new(store: Path) -> None:
    files = sorted(store.glob("models/*.safetensors"))
    array = next(store.glob("images/*.npy"))
    for file in (*files, array):
        os.utime(file, (0, 0))
    keep(store, "models", "of something else")
    used = [file for file in files if file.stat().st_mtime > 1]
    assert len(used) == 1
    images = store.parent / next(item for item in items(store) if item.path == array).folders[0]
    image_folder("again", str(images), str(store / "images"), 0, 4, [0.5] * 3, [0.5] * 3, 0.0, 0.5)
    assert array.stat().st_mtime > 1


@pytest.mark.slow
def test_a_run_verifies_after_the_purge(tmp_path: Path, command: Callable[..., Done]) -> None:
    draws = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for number in range(10):
            pixels = draws.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / label / f"{label}-{number}.png")
    (tmp_path / "delete.txt").write_text("cat-1\ncat-2\ndog-3\n")
    data = ["dataset=image_folder", f"dataset.root={tmp_path}/pets", "dataset.size=8", "model=small_cnn"]
    fast = ["pretrain.epochs=1", "method=ssd", "tracking=none", "figures=[gallery]", f"paths.store={tmp_path}/own"]
    done = command(*data, *fast, "scenario=list", f"scenario.file={tmp_path}/delete.txt")
    assert done.code == 0, done.err
    kinds = {item.kind for item in items(tmp_path / "own")}
    assert {"images", "models", "observations", "predictions", "unlearned"} <= kinds
    assert main(["purge", "--list", str(tmp_path / "delete.txt"), "--store", str(tmp_path / "own")]) == 0
    assert items(tmp_path / "own") == []
    assert (done.folder / "gallery.png").exists()
    assert main(["purge", "--run", str(done.folder)]) == 0
    assert not (done.folder / "gallery.png").exists()
    assert verify([str(done.folder)]) == 0
    (done.folder / "summary.png").unlink()  # which shows no image: that it is gone is said
    assert verify([str(done.folder)]) == 1


def test_data_without_a_folder_is_not_noted(tmp_path: Path) -> None:
    ids = torch.arange(2)
    Store(tmp_path).note(Dataset("two", torch.zeros(2, 3), ids, ("a", "b"), ids, ids[:0], ids[:0]))
    assert list(tmp_path.iterdir()) == []
