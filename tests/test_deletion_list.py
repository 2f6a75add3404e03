"""Requests that list samples: what entries mean in every form of file, what is refused, and that all are forgotten."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.command_line import Done
from tests.conftest import composed
from unlearning.data.datasets import Dataset
from unlearning.data.image_folder import image_folder
from unlearning.data.tabular import csv
from unlearning.engine.job import Job
from unlearning.errors import UserError
from unlearning.records.notes import left_out
from unlearning.scenarios.copies import copies
from unlearning.scenarios.deletion_list import ListForgetting

EACH = 6  # images of each class, in each part; the ids of cats come first


@pytest.fixture
def pets(tmp_path: Path) -> Callable[..., Dataset]:
    """A function that makes a folder with cats 0-5 and dogs 10-15, in each part, and loads it."""

    def made(*parts: str, **options: Any) -> Dataset:
        for shade, part in enumerate(parts or [""]):
            for first, name in ((0, "cat"), (10, "dog")):
                (tmp_path / "pets" / part / name).mkdir(parents=True)
                for number in range(EACH):
                    image = Image.new("RGB", (4, 4), (first + number, shade, 0))
                    image.save(tmp_path / "pets" / part / name / f"{first + number}.png")
        given = {"size": 4, "mean": [0.5] * 3, "std": [0.5] * 3, "validation": 0.0, "test": 0.0}
        return image_folder("pets", str(tmp_path / "pets"), str(tmp_path / "cache"), 0, **given | options)

    return made


@pytest.fixture
def listing(tmp_path: Path) -> Callable[..., str]:
    """A function that writes the file of a list."""

    def written(text: str, name: str = "delete.txt") -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return written


def forgotten(data: Dataset, file: str, **options: Any) -> list[int]:
    return ListForgetting(0, file, **options).prepare(data).split.forget.tolist()


def refused(data: Dataset, file: str, **options: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        ListForgetting(0, file, **options).prepare(data)
    assert "\n" not in str(caught.value)
    return caught.value


# Forms of a list


@pytest.mark.parametrize(
    ("entry", "ids"),
    [
        ("cat/3.png", [3]),
        ("./cat/3.png", [3]),
        ("3.png", [3]),
        ("3", [3]),  # a name without its suffix
        ("pets/cat/3.png", [3]),  # through the folder's own name
        ("cat/*", [0, 1, 2, 3, 4, 5]),
        ("1?.png", [6, 7, 8, 9, 10, 11]),
        ("pets/*/1?.png", [6, 7, 8, 9, 10, 11]),
        ("**/*5.png", [5, 11]),
        ("*", None),  # the whole training set
    ],
)
def test_an_entry_is_a_path_a_name_or_a_pattern(
    entry: str, ids: list[int] | None, pets: Callable, listing: Callable
) -> None:
    data = pets()
    if ids is None:
        assert "nothing is left to retain" in str(refused(data, listing(entry)))
    else:
        assert forgotten(data, listing(f"# a request of May\n\n  {entry}  \n")) == ids


def test_a_star_stays_in_its_folder(pets: Callable, listing: Callable) -> None:
    assert refused(pets(), listing("pets/*.png")).kind == "choice"


@pytest.mark.parametrize("entry", ["cat/[2].png", "[12].png", "[!x]*", "[z-a]", "[!]x"])
def test_brackets_stand_for_themselves(entry: str, pets: Callable, listing: Callable, tmp_path: Path) -> None:
    assert refused(pets(), listing(entry)).kind == "choice"  # rather than any other image, or a traceback
    image = tmp_path / "pets" / "cat" / "0[2].png"
    (tmp_path / "pets" / "cat" / "0.png").rename(image)
    data = image_folder("again", str(tmp_path / "pets"), str(tmp_path / "cache"), 0, 4, [0.5] * 3, [0.5] * 3, 0.0, 0.0)
    assert forgotten(data, listing("cat/0[2].png")) == [0]
    assert forgotten(data, listing("cat/?[2]*")) == [0]


def test_an_absolute_path_leads_through_the_folder_and_through_links_to_it(
    pets: Callable, listing: Callable, tmp_path: Path
) -> None:
    data = pets()
    (tmp_path / "link").symlink_to(tmp_path / "pets")
    assert forgotten(data, listing(f"{tmp_path}/pets/dog/11.png")) == [7]
    linked = image_folder("pets", str(tmp_path / "link"), str(tmp_path / "cache"), 0, 4, [0.5] * 3, [0.5] * 3, 0.0, 0.0)
    assert forgotten(linked, listing(f"{tmp_path}/pets/dog/1*.png\n{tmp_path}/link/cat/2.png")) == [2, *range(6, 12)]
    assert "/elsewhere/cat/2.png" in str(refused(data, listing("/elsewhere/cat/2.png\ncat/1.png")))


def test_every_form_of_file(pets: Callable, listing: Callable, tmp_path: Path) -> None:
    data, names = pets(), ["cat/0.png", "dog/12.png"]
    np.save(tmp_path / "names.npy", names)
    np.save(tmp_path / "ids.npy", np.array([0, 8]))
    objects = json.dumps([{"user": "a", "photo": name} for name in names])
    rows = "\n".join(["user,file", *(f"a,{name}" for name in names)])
    for file, column in [
        (listing("\ufeff" + "\r\n".join(names)), None),
        (listing(rows, "a.csv"), None),  # the column called file
        (listing(rows.replace("file", "photo"), "b.csv"), "photo"),
        (listing("\n".join(["anything", *names]), "c.csv"), None),  # the only column
        (listing(json.dumps(names), "a.json"), None),
        (listing("[0, 8]", "b.json"), None),  # whole numbers are ids
        (listing(objects, "c.json"), "photo"),
        (str(tmp_path / "names.npy"), None),
        (str(tmp_path / "ids.npy"), None),
    ]:
        assert forgotten(data, file, column=column) == [0, 8], file


@pytest.mark.parametrize(
    ("text", "name", "options", "key", "kind"),
    [
        ("", "a.txt", {}, "scenario.file", "file"),
        ("# nothing\n", "a.txt", {}, "scenario.file", "file"),
        ("a,b\n1,2", "a.csv", {}, "scenario.column", "choice"),
        ("a,b\n1,2", "a.csv", {"column": "c"}, "scenario.column", "choice"),
        ("cat/0.png", "a.txt", {"column": "c"}, "scenario.column", "conflict"),
        ("{}", "a.json", {}, "scenario.file", "file"),
        ("[1.5]", "a.json", {}, "scenario.file", "file"),
        ("[true]", "a.json", {}, "scenario.file", "file"),
        ("[{}]", "a.json", {"column": "photo"}, "scenario.file", "file"),
        ("[", "a.json", {}, "scenario.file", "file"),
        ("cat", "a.npy", {}, "scenario.file", "file"),
        ("cat/0.png", "a.txt", {"by": "patient"}, "scenario.by", "choice"),
    ],
)
def test_a_file_that_is_no_list_is_refused(
    text: str, name: str, options: dict[str, str], key: str, kind: str, pets: Callable, listing: Callable
) -> None:
    error = refused(pets(), listing(text, name), **options)
    assert (error.key, error.kind) == (key, kind)


def test_a_missing_file_and_a_pickled_array_are_refused(pets: Callable, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array(["a", None], dtype=object))
    data = pets()
    for file in ("none.txt", str(tmp_path / "a.npy")):
        assert refused(data, file).kind == "file"


def test_rows_of_a_table_by_id_or_by_a_column(tmp_path: Path, listing: Callable) -> None:
    rows = [f"00{i // 3},{i % 7},{'yes' if i % 2 else 'no'}" for i in range(30)]
    (tmp_path / "table.csv").write_text("\n".join(["patient,size,late", *rows]))
    data = csv(str(tmp_path / "table.csv"), "late", 0, drop=["patient"])
    assert forgotten(data, listing("4\n17\n")) == [4, 17]
    assert forgotten(data, listing("001\n003\n"), by="patient") == [3, 4, 5, 9, 10, 11]
    assert forgotten(data, listing("6\n"), by="size") == [6, 13, 20, 27]
    assert refused(data, listing("30\n-1\n1\n")).kind == "choice"
    assert "30, -1" in str(refused(data, listing("30\n-1\n1\n")))
    assert "big" in str(refused(data, listing("6\nbig\n"), by="size"))


# Duplicates, unknown entries, names that several images have


def test_duplicates_are_counted_once_and_said(pets: Callable, listing: Callable) -> None:
    problem = ListForgetting(0, listing("cat/1.png\n1.png\ncat/2.png\ncat/1.png\ncat/*")).prepare(pets())
    assert problem.split.forget.tolist() == [0, 1, 2, 3, 4, 5]
    found = problem.selected
    assert (found["entries"], found["duplicates"], found["unknown_entries"], found["training"]) == (5, 2, 0, 6)
    assert len(list(left_out(found))) == 1


def test_unknown_entries_are_all_listed_or_counted(pets: Callable, listing: Callable) -> None:
    data, unknown = pets(), [f"cat/{number}.jpg" for number in range(30)]
    file = listing("\n".join([*unknown, "cat/1.png", "cow/*"]))
    error = refused(data, file)
    assert (error.key, error.kind) == ("scenario.file", "choice")
    assert all(entry in str(error) for entry in [*unknown, "cow/*", "31 of 32"])
    problem = ListForgetting(0, file, unknown="ignore").prepare(data)
    assert problem.split.forget.tolist() == [1]
    assert problem.selected["unknown_entries"] == 31
    assert len(list(left_out(problem.selected))) == 1
    assert refused(data, listing("\n".join(unknown)), unknown="ignore").kind == "choice"


def test_a_name_that_two_images_have_is_refused_with_both(pets: Callable, listing: Callable) -> None:
    data = pets("train", "test")
    error = refused(data, listing("train/cat/1.png\n2.png"))
    assert (error.key, error.kind) == ("scenario.file", "conflict")
    assert "train/cat/2.png, test/cat/2.png" in str(error)


# Everything that is listed is forgotten


def test_what_validation_and_test_would_have_drawn_is_forgotten_too(pets: Callable, listing: Callable) -> None:
    data = pets(validation=0.25, test=0.25)
    assert (data.validation < EACH).any()
    assert (data.test < EACH).any()
    problem = ListForgetting(0, listing("cat/*")).prepare(data)
    split = problem.split
    assert split.forget.tolist() == list(range(EACH))
    assert not set(range(EACH)) & {*split.validation.tolist(), *split.test.tolist()}
    assert sorted(torch.cat([split.train, split.validation, split.test]).tolist()) == list(range(2 * EACH))
    moved = int((data.validation < EACH).sum() + (data.test < EACH).sum())
    assert problem.selected["moved"] == moved
    assert len(problem.data.train) == len(data.train) + moved
    assert len(list(left_out(problem.selected))) == 1


def test_what_is_in_a_part_of_its_own_is_refused_by_name(pets: Callable, listing: Callable) -> None:
    error = refused(pets("train", "test"), listing("train/cat/*\ntest/dog/11.png\ntest/dog/12.png"))
    assert (error.key, error.kind) == ("scenario.file", "conflict")
    assert "test/dog/11.png, test/dog/12.png" in str(error)
    assert "2 of 8" in str(error)
    assert "cat/" not in str(error)


@pytest.mark.parametrize("words", [[], ["split.validation=0.2", "split.test=0.2"]])
def test_of_a_model_of_ones_own_all_that_is_listed_is_forgotten(
    words: list[str], pets: Callable, listing: Callable, tmp_path: Path, places: list[str]
) -> None:
    pets()
    data = ["dataset=image_folder", f"dataset.root={tmp_path}/pets", "dataset.size=8", "dataset.crop=0", *places]
    request = ["scenario=list", f"scenario.file={listing('cat/*')}", "pretrain.checkpoint=own.safetensors"]
    job = Job.of(composed(*data, *request, *words)[0])
    assert (len(job.problem.split.forget), job.requested) == (EACH, EACH)


# What would silently not be forgotten


def test_a_hash_begins_a_comment_only_before_a_space(pets: Callable, listing: Callable, tmp_path: Path) -> None:
    pets()
    (tmp_path / "pets" / "cat" / "0.png").rename(tmp_path / "pets" / "cat" / "#0.png")
    data = image_folder("again", str(tmp_path / "pets"), str(tmp_path / "cache"), 0, 4, [0.5] * 3, [0.5] * 3, 0.0, 0.0)
    assert forgotten(data, listing("# of May\n#\n #\tand of June\n#0.png\ndog/10.png")) == [0, 6]
    assert "#x" in str(refused(data, listing("#x\ndog/10.png")))


@pytest.mark.parametrize(
    ("text", "name"), [("user,file\na,cat/1.png\nb,\n", "a.csv"), ('["cat/1.png", " "]', "a.json")]
)
def test_an_empty_cell_is_an_unknown_entry(text: str, name: str, pets: Callable, listing: Callable) -> None:
    data, file = pets(), listing(text, name)
    error = refused(data, file)
    assert (error.key, error.kind) == ("scenario.file", "choice")
    assert '"" (entry 2)' in str(error)
    problem = ListForgetting(0, file, unknown="ignore").prepare(data)
    assert (problem.split.forget.tolist(), problem.selected["unknown_entries"]) == ([1], 1)


def test_samples_of_an_unknown_patient_are_counted(tmp_path: Path, listing: Callable) -> None:
    rows = [f"{'' if i < 3 else f'p{i // 5}'},{'' if i < 2 else i},{i},{'yes' if i % 2 else 'no'}" for i in range(30)]
    (tmp_path / "table.csv").write_text("\n".join(["patient,size,x,late", *rows]))
    data = csv(str(tmp_path / "table.csv"), "late", 0, drop=["patient", "size"], validation=0.0, test=0.0)
    for by, entry, ids, unknown in (("patient", "p0", [3, 4], 3), ("size", "7", [7], 2), (None, "0", [0], 0)):
        problem = ListForgetting(0, listing(entry), by=by).prepare(data)
        assert (problem.split.forget.tolist(), problem.selected["unknown"]) == (ids, unknown)


def test_copies_of_what_is_listed_are_counted(pets: Callable, listing: Callable, tmp_path: Path) -> None:
    pets("train", "test")
    for name in ("train/cat/copy", "train/dog/copy", "test/cat/copy"):
        shutil.copyfile(tmp_path / "pets" / "train" / "cat" / "1.png", tmp_path / "pets" / f"{name}.png")
    data = image_folder("again", str(tmp_path / "pets"), str(tmp_path / "cache"), 0, 4, [0.5] * 3, [0.5] * 3)
    found = ListForgetting(0, listing("train/cat/1.png\ntrain/cat/2.png\ntrain/dog/copy.png")).prepare(data).selected
    assert found["copies"] == 2
    assert len(list(left_out(found))) == 1


def test_copies_differ_in_no_value() -> None:
    inputs = torch.zeros(5, 3, 8, 8, dtype=torch.uint8)
    inputs[3, 2, 7, 7] = 1  # the last value, far from the middle
    inputs[4, 1, 4, 0] = 1
    assert copies(inputs, torch.tensor([True, False, False, False, False])) == 2
    assert copies(inputs, torch.tensor([False, False, False, True, True])) == 0


def test_a_limit_would_leave_listed_images_out(
    pets: Callable, listing: Callable, tmp_path: Path, places: list[str]
) -> None:
    pets()
    data = ["dataset=image_folder", f"dataset.root={tmp_path}/pets", "dataset.size=8", "dataset.crop=0", *places]
    request = ["scenario=list", f"scenario.file={listing('cat/*')}", "pretrain.checkpoint=own.safetensors"]
    with pytest.raises(UserError) as caught:
        Job.of(composed(*data, *request, "dataset.limit=5")[0])
    assert (caught.value.key, caught.value.kind) == ("dataset.limit", "conflict")


@pytest.mark.slow
def test_a_list_from_the_command_line(
    pets: Callable, listing: Callable, tmp_path: Path, command: Callable[..., Done]
) -> None:
    pets()
    data = ["dataset=image_folder", f"dataset.root={tmp_path}/pets", "dataset.size=8", "dataset.crop=0"]
    fast = ["model=small_cnn", "pretrain.epochs=1", "method=original", "tracking=none", "split.validation=0.25"]
    request = ["scenario=list", f"scenario.file={tmp_path}/delete.txt"]
    listing("cat/1.png\ncat/1.png\n12.png")
    done = command(*data, *fast, *request)
    assert (done.code, done.err) == (0, "")
    assert done.results["sizes"]["forget"] == 2
    assert done.results["selected"]["duplicates"] == 1
    assert any("counted once" in note for note in done.results["notes"])
    listing("cat/1.png\n")
    again = command(*data, *fast, *request)
    assert again.folder != done.folder  # the content of the list is in the key
    for written in done.folder.iterdir():  # what was deleted is named nowhere
        assert b"12.png" not in written.read_bytes(), written.name
