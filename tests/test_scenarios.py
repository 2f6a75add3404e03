"""What each scenario forgets, on data small enough to count by hand; the tables; and what is said about bad input."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import composed
from unlearning import pipeline
from unlearning.config import build
from unlearning.config.schema import run_key
from unlearning.data.datasets import Dataset, coarsened
from unlearning.data.tabular import csv, scikit_learn
from unlearning.errors import UserError
from unlearning.scenarios.forgetting import ClassForgetting, RandomForgetting, SubclassForgetting
from unlearning.scenarios.manipulations import DataEntry

# Row i has class LABELS[i]; rows 0-11 train, 12-13 validation, 14-18 test.
LABELS = [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 0, 1, 2, 3, 3]
CLASSES = ("ant", "bee", "cow", "dog")


@pytest.fixture
def animals() -> Dataset:
    ids = torch.arange(len(LABELS))
    inputs = torch.zeros(len(LABELS), 2, 2, 1, dtype=torch.uint8)
    return Dataset("animals", inputs, torch.tensor(LABELS), CLASSES, ids[:12], ids[12:14], ids[14:], (0.0,), (1.0,))


@pytest.fixture
def kinds(animals: Dataset) -> Dataset:
    return replace(animals, superclasses={"insect": ["bee", "ant"], "mammal": [2, 3]})


def rows(ids: torch.Tensor) -> list[int]:
    return ids.tolist()


def test_a_class_is_forgotten_by_name_or_number(animals: Dataset) -> None:
    for wanted in ("dog", 3, "3"):
        split = ClassForgetting(0, [wanted]).split(animals)
        assert rows(split.forget) == [3, 7, 11]
        assert rows(split.retain) == [0, 1, 2, 4, 5, 6, 8, 9, 10]
        assert rows(split.test_forget) == [17, 18]
        assert rows(split.test_retain) == [14, 15, 16]
        assert split.forget_classes == (3,)


def test_two_classes_are_forgotten_together(animals: Dataset) -> None:
    split = ClassForgetting(0, ["dog", "ant", 0]).split(animals)
    assert rows(split.forget) == [0, 3, 4, 7, 8, 11]
    assert split.forget_classes == (0, 3)


@pytest.mark.parametrize("part", [{"count": 2}, {"fraction": 0.66}])
def test_of_a_class_forgotten_in_part_the_rest_is_retained(animals: Dataset, part: dict) -> None:
    split = ClassForgetting(0, ["cow"], **part).split(animals)
    assert len(split.forget) == 2
    assert set(rows(split.forget)) < {2, 6, 10}
    assert sorted(rows(split.forget) + rows(split.retain)) == list(range(12))
    assert rows(split.test_forget) == [16]
    assert split.forget_classes == ()  # the class stays
    assert ClassForgetting(0, ["cow"], count=3).split(animals).forget_classes == (2,)


def test_random_forgetting_takes_a_count_a_fraction_or_a_tenth(animals: Dataset) -> None:
    for options, size in (({"count": 5}, 5), ({"fraction": 0.5}, 6), ({}, 1)):
        split = RandomForgetting(0, **options).split(animals)
        assert len(split.forget) == size
        assert sorted(rows(split.forget) + rows(split.retain)) == list(range(12))
        assert len(split.test_forget) == 0
        assert rows(split.test_retain) == [14, 15, 16, 17, 18]
    drawn = {tuple(rows(RandomForgetting(seed, count=5).split(animals).forget)) for seed in range(20)}
    assert len(drawn) > 10
    assert RandomForgetting(3, count=5).split(animals).digest == RandomForgetting(3, count=5).split(animals).digest


# Subclasses


def test_a_subclass_is_forgotten_while_its_superclass_stays(kinds: Dataset) -> None:
    for wanted in ("dog", 3):
        scenario = SubclassForgetting(0, [wanted])
        learned = scenario.manipulated(kinds)
        assert learned.labels[:4].tolist() == [0, 0, 1, 1]
        assert learned.classes == ("insect", "mammal")
        split = scenario.split(kinds)
        assert scenario.split(learned).digest == split.digest
        assert rows(split.forget) == [3, 7, 11]
        assert rows(split.test_forget) == [17, 18]
        assert split.forget_classes == ()


def test_a_subclass_needs_superclasses_and_is_not_one(animals: Dataset, kinds: Dataset) -> None:
    with pytest.raises(UserError, match=r"animals has no super-classes: set dataset.superclasses="):
        SubclassForgetting(0, ["dog"]).split(animals)
    with pytest.raises(UserError, match="no class 'mammal'"):
        SubclassForgetting(0, ["mammal"]).split(kinds)


@pytest.mark.parametrize(
    "superclasses",
    [{"insect": [0, 1], "mammal": [2]}, {"insect": [0, 1], "mammal": [1, 2, 3]}],
    ids=["one is missing", "one is twice"],
)
def test_superclasses_hold_every_class_once(animals: Dataset, superclasses: dict) -> None:
    with pytest.raises(UserError, match="each of the 4 classes of animals once"):
        coarsened(replace(animals, superclasses=superclasses))


def test_digits_forget_one_digit_of_a_super_class() -> None:
    config, _ = composed("scenario=subclass", "scenario.classes=[seven]")
    data = build.dataset(config)
    split = build.split(config, data)
    assert data.classes == ("looped", "straight", "curved")
    assert data.fine_labels[split.forget].unique().tolist() == [7]
    assert data.labels[split.forget].unique().tolist() == [1]
    assert data.fine_labels[split.test_forget].unique().tolist() == [7]
    assert 7 not in data.fine_labels[torch.cat([split.retain, split.test_retain])]
    assert 1 in data.labels[split.retain]


# Label errors


def test_label_errors_are_wrong_labels_of_the_forget_set_alone(animals: Dataset) -> None:
    scenario = DataEntry(5, count=6)
    changed, split = scenario.manipulated(animals), scenario.split(animals)
    differs = (changed.labels != animals.labels).nonzero().flatten()
    assert rows(differs) == rows(split.forget)
    assert len(differs) == 6
    assert set(changed.labels.tolist()) <= {0, 1, 2, 3}
    assert scenario.split(changed).digest == split.digest
    assert changed.digest != animals.digest  # so the original model is another one
    errors = torch.stack([DataEntry(seed, fraction=1 / 12).manipulated(animals).labels for seed in range(300)])
    errors = errors[:, :12] - animals.labels[:12]
    counts = [int((errors % 4 == shift).sum()) for shift in (1, 2, 3)]
    assert sum(counts) == 300
    assert min(counts) > 70  # each of the other classes alike


def test_unlearning_wrong_labels_end_to_end(places: list[str]) -> None:
    config, choices = composed("dataset=wine", "scenario.fraction=0.1", "method=finetune", "tracking=none", *places)
    assert choices["scenario"] == "data_entry"
    assert choices["model"] == "mlp"
    folder = pipeline.run(config, choices, command="test")
    rows = json.loads((folder / "results.json").read_text())["rows"]
    assert rows["original"]["forget/acc"] > 0.6  # it has learned the wrong labels
    assert rows["retrained"]["forget/acc"] < 0.2
    assert rows["retrained"]["test/acc"] > 0.9


# Bad input


@pytest.mark.parametrize(
    ("scenario", "message"),
    [
        (ClassForgetting(0, ["dgo"]), r"no class 'dgo': did you mean dog\?"),
        (ClassForgetting(0, [4]), "no class 4: numbers go from 0 to 3"),
        (ClassForgetting(0, []), "scenario.classes is empty"),
        (ClassForgetting(0, [0, 1, 2, 3]), "the whole training set"),
        (ClassForgetting(0, ["dog"], count=4), "scenario.count=4 cannot be drawn: class dog of animals has 3"),
        (ClassForgetting(0, ["dog"], count=0), "scenario.count=0 cannot be drawn"),
        (ClassForgetting(0, ["dog"], count=1, fraction=0.1), "both given"),
        (RandomForgetting(0, count=13), "scenario.count=13 cannot be drawn: animals has 12"),
        (RandomForgetting(0, count=12), "the whole training set"),
        (RandomForgetting(0, fraction=1.5), r"must lie in \(0, 1\], not 1.5"),
        (RandomForgetting(0, fraction=0.0), r"must lie in \(0, 1\], not 0"),
        (SubclassForgetting(0, ["bea"]), r"no class 'bea': did you mean bee\?"),
    ],
)
def test_bad_requests_are_explained(kinds: Dataset, animals: Dataset, scenario: ClassForgetting, message: str) -> None:
    with pytest.raises(UserError, match=message):
        scenario.split(kinds if isinstance(scenario, SubclassForgetting) else animals)


def test_a_class_without_training_samples_cannot_be_forgotten(animals: Dataset) -> None:
    empty = replace(animals, classes=(*CLASSES, "emu"))
    with pytest.raises(UserError, match="the forget set is empty"):
        ClassForgetting(0, ["emu"]).split(empty)


# Tables


def test_a_bundled_table_is_normalised_by_its_training_rows() -> None:
    from sklearn.datasets import load_wine

    data, raw = scikit_learn("wine", seed=0), load_wine()
    assert data.inputs.shape == (178, 13)
    assert data.input_shape == (13,)
    train = raw.data[data.train.numpy()]
    expected = (raw.data - train.mean(0)) / train.std(0)
    np.testing.assert_allclose(data.inputs.numpy(), expected, rtol=1e-3, atol=1e-5)
    low, high = data.bounds
    np.testing.assert_allclose(low.numpy(), expected[data.train.numpy()].min(0), rtol=1e-3)
    np.testing.assert_allclose(high.numpy(), expected[data.train.numpy()].max(0), rtol=1e-3)
    parts = torch.cat([data.train, data.validation, data.test])
    assert parts.sort().values.tolist() == list(range(178))


def table(tmp_path: Path, text: str | None = None) -> str:
    lines = [f"{i},{'red' if i % 3 else 'blue'},7,{'yes' if i % 2 else 'no'},note {i}" for i in range(120)]
    file = tmp_path / "orders.csv"
    file.write_text(text or "\n".join(["days,colour,same,late,remark", *lines]))
    return str(file)


def test_a_table_of_the_users_own(tmp_path: Path) -> None:
    data = csv(table(tmp_path), "late", seed=0, validation=0.25, test=0.2, drop=["remark"])
    assert data.name == "orders"
    assert data.classes == ("no", "yes")
    assert data.labels.tolist() == [0, 1] * 60
    assert (len(data.train), len(data.validation), len(data.test)) == (72, 24, 24)
    days, same, blue, red = data.inputs.T
    steps = days.diff()
    assert steps.min() > 0
    assert steps.max() - steps.min() < 1e-4
    assert same.unique().tolist() == [0.0]  # a constant column becomes 0 rather than NaN
    is_blue = torch.arange(120) % 3 == 0
    assert torch.equal(blue > 0, is_blue)
    assert torch.equal(red < 0, is_blue)
    assert data.inputs[data.train].mean(0).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("options", "text", "message"),
    [
        ({"label": "lat"}, None, r"dataset.label: .*orders.csv has no column 'lat': did you mean late\?"),
        ({"drop": ["remarks"]}, None, r"dataset.drop: .* no column 'remarks': did you mean remark\?"),
        ({}, None, r"column 'remark' .* holds 120 different words.*dataset.drop=\[remark\]"),
        ({}, "a,late\n1,yes\n,no\n", r"column 'a' .* has empty cells.*dataset.drop=\[a\]"),
        ({}, "a,late\n1,yes\n2,yes\n", "at least two classes in 'late' and a column beside it, and has 1 and 1"),
        ({}, "late\nyes\nno\n", "and has 2 and 0"),
        ({}, "a,late\n1,yes\n2,no\n", "cannot be drawn from 2 samples by class"),
        ({}, 'a,late\n1,"yes\n', "cannot be read as CSV"),
    ],
)
def test_a_bad_table_is_explained(tmp_path: Path, options: dict, text: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        csv(**{"root": table(tmp_path, text), "label": "late", "seed": 0} | options)


def test_a_missing_table_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none.csv cannot be read as CSV .*set dataset.root=FILE"):
        csv(str(tmp_path / "none.csv"), "late", seed=0)


def test_another_table_is_another_run(tmp_path: Path) -> None:
    words = ["dataset=csv", f"dataset.root={table(tmp_path)}", "dataset.label=late", "dataset.drop=[remark]"]
    config, _ = composed(*words)
    before = run_key(config)
    assert run_key(config) == before
    table(tmp_path, "days,late,remark\n" + "\n".join(f"{i},{i % 2},x" for i in range(100)))
    assert run_key(config) != before
    assert build.model(config, build.dataset(config))(torch.zeros(2, 1)).shape == (2, 2)
