"""Requests by facts about samples: predicates, the join of a CSV file with images, what is forgotten and left out."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.command_line import Done
from tests.conftest import composed
from unlearning.data.datasets import Dataset
from unlearning.data.image_folder import image_folder
from unlearning.data.metadata import Metadata, joined, numbers_or_words, typed
from unlearning.data.tabular import csv
from unlearning.engine.job import Job
from unlearning.errors import UserError
from unlearning.records.notes import left_out
from unlearning.scenarios.base import check_whole
from unlearning.scenarios.metadata import MetadataForgetting
from unlearning.scenarios.predicate import parsed
from unlearning.scenarios.saved import SavedSplit, split_file

# Rows 0-7 train, 8-9 validation, 10-13 test; nobody knows the age of samples 1 and 11, nor the camera of 2 and 9.
AGES = [60, None, 61, 59, 80, 70, 20, 90, 75, 30, 10, None, 99, 61]
CAMERAS = ["A", "B", None, "A", "A", "B c", "A", "B", "A", None, "A", "B", "B", "A"]


@pytest.fixture
def eyes() -> Dataset:
    ids, count = torch.arange(len(AGES)), len(AGES)
    ages = np.array([np.nan if age is None else age for age in AGES])
    facts = Metadata(
        {"age": ages, "camera": np.array(CAMERAS, dtype=object)}, {"rows_without_sample": 3, "samples_without_row": 1}
    )
    inputs = torch.zeros(count, 1, 1, 1, dtype=torch.uint8)
    return Dataset(
        "eyes", inputs, ids % 2, ("well", "ill"), ids[:8], ids[8:10], ids[10:], (0.0,), (1.0,), metadata=facts
    )


def forgotten(data: Dataset, where: str, **options: object) -> list[int]:
    return MetadataForgetting(0, where, **options).prepare(data).split.forget.tolist()


# Predicates


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("age > 60", [2, 4, 5, 7]),
        ("age >= 60", [0, 2, 4, 5, 7]),
        ("age < 60", [3, 6]),
        ("age<=59.5", [3, 6]),
        ("age == 61", [2]),
        ('age == "61.0"', [2]),
        ("age != 61", [0, 3, 4, 5, 6, 7]),  # what is not known does not differ
        ("camera == A", [0, 3, 4, 6]),
        ("camera != 'A'", [1, 5, 7]),
        ('camera == "B c"', [5]),
        ("camera == B c", [5]),
        ("camera == A and age > 59 and class == well", [0, 4]),
        ('"camera" == A and age > -1e3 and age < 60', [3, 6]),
    ],
)
def test_a_predicate_selects_by_columns(where: str, ids: list[int], eyes: Dataset) -> None:
    assert forgotten(eyes, where) == ids


def test_quotes_hold_signs_spaces_and_the_word_that_joins() -> None:
    (first, second) = parsed("'made by' == \"sun and moon's\" and a >= 'x > y'")
    assert (first.column, first.sign, first.value) == ("made by", "==", "sun and moon's")
    assert (second.column, second.sign, second.value) == ("a", ">=", "x > y")


@pytest.mark.parametrize(
    "where",
    [
        *(
            "",
            "age",
            "age >",
            "> 60",
            "age = 60",
            "age => 60",
            "age =< 60",
            "age == 1 == 2",
            'camera == "A',
            "age <> 1",
        ),
        *("age > 60 and", "and age > 60", "age > 60 and and age < 70", "__import__('os').system('true')"),
    ],
)
def test_what_is_no_comparison_is_refused(where: str) -> None:
    with pytest.raises(UserError) as caught:
        MetadataForgetting(0, where)
    assert (caught.value.key, caught.value.kind) == ("scenario.where", "value")


@pytest.mark.parametrize(
    ("where", "kind", "told"),
    [
        ("ages > 60", "choice", "choose from class, age, camera"),
        ("camera == C", "choice", "choose from A, B, B c"),
        ("camera != C", "choice", "choose from A, B, B c"),  # a slip would select all
        ("camera > 1", "value", "words"),
        ("age == old", "value", "'old' is not one"),
        ("age > nan", "value", "'nan' is not one"),
        ("age > 95", "value", "age goes from 10 to 99"),  # a test sample alone
    ],
)
def test_what_the_data_do_not_have_is_told_with_what_they_have(where: str, kind: str, told: str, eyes: Dataset) -> None:
    with pytest.raises(UserError) as caught:
        MetadataForgetting(0, where).prepare(eyes)
    assert (caught.value.key, caught.value.kind) == ("scenario.where", kind)
    assert told in str(caught.value)


def test_everything_cannot_be_forgotten(eyes: Dataset) -> None:
    with pytest.raises(UserError) as caught:
        MetadataForgetting(0, "age > 0").prepare(replace(eyes, metadata=Metadata({"age": np.full(len(AGES), 1.0)})))
    assert caught.value.key == "scenario"


# What is forgotten of what is selected, and the account of it


def test_the_surplus_of_a_cap_is_retained_and_all_is_accounted_for(eyes: Dataset) -> None:
    problem = MetadataForgetting(0, "age > 59", cap=2).prepare(eyes)
    selected = {0, 2, 4, 5, 7}
    forget, split = problem.split.forget.tolist(), problem.split
    assert len(forget) == 2
    assert set(forget) < selected
    assert set(split.retain.tolist()) == {*range(8)} - set(forget)
    assert split.test_forget.tolist() == [12, 13]  # test samples are split by the same facts
    assert (split.forget_classes, split.named_classes) == ((), ())
    counts = {"training": 5, "surplus": 3, "held_out": 3, "unknown": 1}
    assert problem.selected == counts | {"rows_without_sample": 3, "samples_without_row": 1}
    assert len(list(left_out(problem.selected))) == 5
    assert problem.thinned(4).selected == problem.selected
    assert forgotten(eyes, "age > 59", cap=2, first=True) == [0, 2]
    assert forgotten(eyes, "age > 59", cap=9) == sorted(selected)
    draws = {tuple(MetadataForgetting(s, "age > 59", cap=2).prepare(eyes).split.forget.tolist()) for s in range(20)}
    assert len(draws) > 3


def test_nothing_is_told_where_nothing_is_left_out() -> None:
    assert list(left_out({"training": 5, "surplus": 0, "held_out": 0, "unknown": 0})) == []
    assert list(left_out({})) == []


def test_a_comparison_of_two_columns_knows_what_either_lacks(eyes: Dataset) -> None:
    problem = MetadataForgetting(0, "age > 59 and camera == A").prepare(eyes)
    assert problem.selected["unknown"] == 2
    assert problem.split.forget.tolist() == [0, 4]


def test_of_an_own_model_everything_selected_is_asked_for(eyes: Dataset) -> None:
    scenario = MetadataForgetting(0, "camera == A")
    with pytest.raises(UserError) as caught:  # sample 8 is held out
        check_whole(scenario, eyes, scenario.prepare(eyes).split.forget)
    assert caught.value.key == "split.validation"


def test_a_split_by_metadata_can_be_saved_and_taken_up(eyes: Dataset, tmp_path: Path) -> None:
    split, file = MetadataForgetting(0, "age > 59").prepare(eyes).split, tmp_path / "split.safetensors"
    file.write_bytes(split_file(split, eyes))
    assert SavedSplit(0, str(file)).prepare(eyes).split.digest == split.digest


@pytest.mark.parametrize("choice", ["metadata", "attribute", "threshold"])
def test_all_names_compose_and_refuse_amounts_out_of_bounds(choice: str) -> None:
    words = [f"scenario={choice}", "dataset=wine", 'scenario.where="alcohol > 13 and class == class_0"']
    problem = Job.of(composed(*words, "scenario.cap=9", "tracking=none")[0]).problem
    assert len(problem.split.forget) == 9
    assert problem.data.labels[problem.split.forget].unique().tolist() == [0]
    with pytest.raises(UserError) as caught:
        Job.of(composed(*words, "scenario.cap=0", "tracking=none")[0])
    assert caught.value.key == "scenario.cap"


# Columns


def test_columns_are_numbers_or_words() -> None:
    import pandas as pd

    def of(*cells: str) -> list[object]:
        return numbers_or_words(pd.Series(cells, dtype=str)).tolist()

    assert of("1", "-2.5", "1e3") == [1, -2.5, 1000]
    assert of("", "7", "NA") == pytest.approx([np.nan, 7, np.nan], nan_ok=True)
    assert of("A", "", "NA") == ["A", None, "NA"]  # among words it may be one
    assert of("007", "8") == ["007", "8"]  # a code
    assert of("0.5", "0") == [0.5, 0]
    assert of("9007199254740993", "9007199254740992") == ["9007199254740993", "9007199254740992"]
    assert of("", "") == [None, None]
    assert typed(pd.DataFrame({"a": [" 1 ", "2"]}))["a"].tolist() == [1, 2]


def sheet(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "facts.csv"
    file.write_text(text)
    return file


NAMES = ["train/cat/1.png", "train/cat/2.jpg", "train/dog/1.png", "test/dog/3.png", "train/dog/a.b.png"]


def test_rows_and_images_are_matched_by_any_end_of_the_path(tmp_path: Path) -> None:
    rows = ["cat/1.png,5", "2,6", "./train/dog/1.png,7", "a.b,8", "9.png,9", "cat/4,9"]
    found = joined(sheet(tmp_path, "\n".join(["\ufeffimage,age", *rows])), "image", NAMES)
    assert found.columns["age"].tolist() == pytest.approx([5, 6, 7, np.nan, 8], nan_ok=True)
    assert found.columns["file"].tolist() == NAMES
    assert found.counts == {"rows_without_sample": 2, "samples_without_row": 1}
    nested = joined(sheet(tmp_path, "file,age\n1.png,5\ncat/1,6"), "file", ["1.png", "cat/1.png"])
    assert nested.columns["age"].tolist() == [5, 6]  # a whole path goes before the end of another


@pytest.mark.parametrize(
    ("text", "column", "key", "kind"),
    [
        ("file,age\n1.png,5", "file", "dataset.metadata", "file"),  # two images end so
        ("file,age\ncat/1,5\ncat/1.png,5", "file", "dataset.metadata", "file"),  # two rows for one image
        ("file,age\nx,5", "file", "dataset.file_column", "file"),  # none matches
        ("file,age", "file", "dataset.file_column", "file"),
        ("image,age\n1.png,5", "file", "dataset.file_column", "choice"),
        ("file\ncat/1,5", "file", "dataset.metadata", "file"),  # more cells than names
        ("", "file", "dataset.metadata", "file"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(text: str, column: str, key: str, kind: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        joined(sheet(tmp_path, text), column, NAMES)
    assert (caught.value.key, caught.value.kind) == (key, kind)
    assert "\n" not in str(caught.value)


def test_rows_of_a_table_are_selected_by_columns_that_are_no_features(tmp_path: Path) -> None:
    lines = [f"{i},{i % 7},{'yes' if i % 2 else 'no'},00{i % 3}" for i in range(60)]
    file = sheet(tmp_path, "\n".join(["number,size,late,code", *lines]))
    data = csv(str(file), "late", seed=0, drop=["number", "code"])
    assert data.inputs.shape[1] == 1
    expected = [i for i in data.train.tolist() if i < 30 and i % 3 == 1]
    assert forgotten(data, "number < 30 and code == 001") == expected


def test_images_by_their_metadata_from_the_command_line(tmp_path: Path, command: Callable[..., Done]) -> None:
    """A folder, a file beside it with a row too many and one too few, and what the run tells of it."""
    generator, rows = np.random.default_rng(0), ["file,camera,fissure"]
    for label in ("cat", "dog"):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for number in range(20):
            pixels = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / label / f"{number}.png")
            rows.append(f"{label}/{number}.png,{'Topcon' if number % 2 else 'Spectralis'},{number}")
    file = sheet(tmp_path / "pets", "\n".join([*rows[:-1], "cat/99.png,Topcon,3"]))
    words = ["dataset=image_folder", f"dataset.root={tmp_path / 'pets'}", f"dataset.metadata={file}", "dataset.size=8"]
    where = 'scenario.where="camera == Spectralis and fissure > 3"'
    model = ["dataset.crop=0", "model=small_cnn", "trial=50", "pretrain.epochs=1", "method=original"]
    done = command(*words, *model, "scenario=attribute", where, "split.validation=0", "tracking=none")
    assert done.code == 0, done.err
    found = done.results["selected"]
    assert (found["rows_without_sample"], found["samples_without_row"]) == (1, 1)
    assert found["training"] + found["held_out"] == 16
    assert found["training"] == done.results["sizes"]["forget"]
    assert sum("dataset.metadata" in note for note in done.results["notes"]) == 2
    assert "selected: training" in (done.folder / "log.txt").read_text()


def test_a_folder_without_such_a_file_has_names_and_classes(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (4, 4)).save(tmp_path / "pets" / label / f"{number}.png")
    data = image_folder("pets", str(tmp_path / "pets"), str(tmp_path), 0, 4, [0.5] * 3, [0.5] * 3, 0.0, 0.34)
    (one,) = data.train[:1].tolist()
    name = data.metadata.columns["file"][one] if data.metadata else ""
    assert forgotten(data, f'file == "{name}"') == [one]
    assert name.split("/")[0] == data.classes[data.labels[one]]


def test_the_first_ones_of_a_class(eyes: Dataset) -> None:
    from unlearning.scenarios.forgetting import ClassForgetting

    assert ClassForgetting(0, ["ill"], count=2, first=True).prepare(eyes).split.forget.tolist() == [1, 3]
    assert ClassForgetting(0, ["ill"], fraction=0.75, first=True).prepare(eyes).split.forget.tolist() == [1, 3, 5]
    assert ClassForgetting(3, ["ill"], first=True).prepare(eyes).split.forget_classes == (1,)
