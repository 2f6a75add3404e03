"""The forget set of each scenario, on data small enough to count by hand; and the setting that an error names."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from tests.conftest import composed
from unlearning import pipeline
from unlearning.config.build import Spec
from unlearning.data.datasets import Dataset, coarsened
from unlearning.engine.job import Job
from unlearning.errors import UserError
from unlearning.request import Request
from unlearning.scenarios.base import Scenario
from unlearning.scenarios.forgetting import ClassForgetting, RandomForgetting, SubclassForgetting
from unlearning.scenarios.manipulations import DataEntry
from unlearning.types import Split

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


def split_of(scenario: Scenario, data: Dataset) -> Split:
    return scenario.prepare(data).split


def rows(ids: torch.Tensor) -> list[int]:
    return ids.tolist()


def test_a_class_is_forgotten_by_name_or_number(animals: Dataset) -> None:
    for wanted in ("dog", 3, "3"):
        problem = ClassForgetting(0, [wanted]).prepare(animals)
        split = problem.split
        assert rows(split.forget) == [3, 7, 11]
        assert rows(split.retain) == [0, 1, 2, 4, 5, 6, 8, 9, 10]
        assert rows(split.test_forget) == [17, 18]
        assert rows(split.test_retain) == [14, 15, 16]
        assert split.forget_classes == (3,)
        assert problem.data is animals
        assert problem.attack is None


def test_a_problem_states_what_methods_may_know_of_it(animals: Dataset) -> None:
    data = replace(animals, mean=(0.5,), std=(0.25,), flip=True)
    task = ClassForgetting(0, ["dog"], count=2).prepare(data).task
    assert task.num_classes == 4
    assert task.forget_classes == ()  # one dog stays
    assert task.named_classes == (3,)
    assert task.sizes == {"forget": 2, "retain": 10, "train": 12}
    assert task.input_shape == (1, 2, 2)
    assert task.augmented
    assert not ClassForgetting(0, ["dog"]).prepare(animals).task.augmented


def test_models_can_learn_a_random_part_of_which_a_part_is_forgotten(animals: Dataset) -> None:
    drawn = [RandomForgetting(seed, fraction=0.5, learned=0.5).prepare(animals) for seed in range(200)]
    for problem in drawn:
        split = problem.split
        assert (len(split.train), len(split.forget), len(split.retain)) == (6, 3, 3)
        assert rows(split.train) == rows(problem.data.train) == sorted(rows(split.forget) + rows(split.retain))
        assert rows(split.test) == rows(animals.test)
    learned, forgotten = (torch.cat([p.split.sets[name] for p in drawn]).bincount() for name in ("train", "forget"))
    assert torch.all((learned - 100).abs() < 30)  # of 200 draws, 4 standard deviations
    assert torch.all((forgotten - 50).abs() < 26)


def test_learning_is_a_problem_in_which_nothing_is_forgotten(animals: Dataset) -> None:
    problem = ClassForgetting(0, ["dog"]).prepare(animals)
    learning = problem.learning(torch.tensor([0, 4, 5]))
    assert [rows(learning.split.sets[name]) for name in ("train", "retain", "forget")] == [[0, 4, 5], [0, 4, 5], []]
    assert rows(learning.split.test) == [14, 15, 16, 17, 18]
    assert learning.task.sizes == {"forget": 0, "retain": 3, "train": 3}


def test_a_trial_has_so_many_samples_of_each_set(animals: Dataset) -> None:
    small = DataEntry(0, count=6, known_count=3).prepare(animals).thinned(2)
    whole = DataEntry(0, count=6, known_count=3).prepare(animals).split
    sets = small.split.sets
    assert {name: len(sets[name]) for name in ("forget", "retain", "train", "validation", "test")} == {
        "forget": 2,
        "retain": 2,
        "train": 4,
        "validation": 2,
        "test": 2,
    }
    assert rows(sets["train"]) == sorted(rows(sets["forget"]) + rows(sets["retain"]))
    assert rows(sets["forget"]) == [whole.forget[0], whole.forget[2]]  # the first and the last
    assert rows(sets["manipulated"]) == [i for i in rows(whole.manipulated) if i in rows(sets["train"])]
    assert small.task.sizes == {"forget": 2, "retain": 2, "train": 4}
    classes = ClassForgetting(0, ["dog"]).prepare(animals).thinned(2).split
    assert rows(classes.test) == [14, 18]  # the first and the last of 14 to 18
    assert rows(classes.test_forget) == [18]
    assert rows(classes.test_retain) == [14]


def test_two_classes_are_forgotten_together(animals: Dataset) -> None:
    split = split_of(ClassForgetting(0, ["dog", "ant", 0]), animals)
    assert rows(split.forget) == [0, 3, 4, 7, 8, 11]
    assert split.forget_classes == (0, 3)


@pytest.mark.parametrize("part", [{"count": 2}, {"fraction": 0.66}])
def test_of_a_class_forgotten_in_part_the_rest_is_retained(animals: Dataset, part: dict) -> None:
    split = split_of(ClassForgetting(0, ["cow"], **part), animals)
    assert len(split.forget) == 2
    assert set(rows(split.forget)) < {2, 6, 10}
    assert sorted(rows(split.forget) + rows(split.retain)) == list(range(12))
    assert rows(split.test_forget) == [16]
    assert split.forget_classes == ()  # the class stays
    assert split_of(ClassForgetting(0, ["cow"], count=3), animals).forget_classes == (2,)


def test_random_forgetting_takes_a_count_a_fraction_or_a_tenth(animals: Dataset) -> None:
    for options, size in (({"count": 5}, 5), ({"fraction": 0.5}, 6), ({}, 1)):
        split = split_of(RandomForgetting(0, **options), animals)
        assert len(split.forget) == size
        assert sorted(rows(split.forget) + rows(split.retain)) == list(range(12))
        assert len(split.test_forget) == 0
        assert rows(split.test_retain) == [14, 15, 16, 17, 18]
    drawn = {tuple(rows(split_of(RandomForgetting(seed, count=5), animals).forget)) for seed in range(20)}
    assert len(drawn) > 10
    twice = [split_of(RandomForgetting(3, count=5), animals).digest for _ in range(2)]
    assert twice[0] == twice[1]


# Subclasses


def test_a_subclass_is_forgotten_while_its_superclass_stays(kinds: Dataset) -> None:
    for wanted in ("dog", 3):
        problem = SubclassForgetting(0, [wanted]).prepare(kinds)
        assert problem.data.labels[:4].tolist() == [0, 0, 1, 1]
        assert problem.data.classes == ("insect", "mammal")
        assert problem.task.num_classes == 2
        assert rows(problem.split.forget) == [3, 7, 11]
        assert rows(problem.split.test_forget) == [17, 18]
        assert problem.split.forget_classes == ()
        assert problem.split.named_classes == (1,)


@pytest.mark.parametrize(
    "superclasses",
    [{"insect": [0, 1], "mammal": [2]}, {"insect": [0, 1], "mammal": [1, 2, 3]}],
    ids=["one is missing", "one is twice"],
)
def test_superclasses_hold_every_class_once(animals: Dataset, superclasses: dict) -> None:
    with pytest.raises(UserError) as refused:
        coarsened(replace(animals, superclasses=superclasses))
    assert refused.value.key == "dataset.superclasses"


def test_digits_forget_one_digit_of_a_super_class() -> None:
    problem = Job.of(composed("scenario=subclass", "scenario.classes=[seven]")[0]).problem
    data, split = problem.data, problem.split
    assert data.classes == ("looped", "straight", "curved")
    assert data.fine_labels[split.forget].unique().tolist() == [7]
    assert data.labels[split.forget].unique().tolist() == [1]
    assert data.fine_labels[split.test_forget].unique().tolist() == [7]
    assert 7 not in data.fine_labels[torch.cat([split.retain, split.test_retain])]
    assert 1 in data.labels[split.retain]


# Label errors


def test_label_errors_are_wrong_labels_of_the_forget_set_alone(animals: Dataset) -> None:
    problem = DataEntry(5, count=6).prepare(animals)
    differs = (problem.data.labels != animals.labels).nonzero().flatten()
    assert rows(differs) == rows(problem.split.forget)
    assert len(differs) == 6
    assert set(problem.data.labels.tolist()) <= {0, 1, 2, 3}
    assert problem.data.digest != animals.digest  # so the original model is another one
    errors = torch.stack([DataEntry(seed, fraction=1 / 12).prepare(animals).data.labels for seed in range(300)])
    errors = errors[:, :12] - animals.labels[:12]
    counts = [int((errors % 4 == shift).sum()) for shift in (1, 2, 3)]
    assert sum(counts) == 300
    assert min(counts) > 70  # each of the other classes alike


def test_unlearning_wrong_labels_end_to_end(places: list[str]) -> None:
    words = ("dataset=wine", "scenario.fraction=0.1", "method=finetune", "tracking=none", *places)
    config, choices = composed(*words)
    assert choices["scenario"] == "data_entry"
    assert choices["model"] == "mlp"
    folder = pipeline.run(Request(config, choices, words))
    rows = json.loads((folder / "results.json").read_text())["rows"]
    assert rows["original"]["forget/acc"] > 0.6  # it has learned the wrong labels
    assert rows["retrained"]["forget/acc"] < 0.2
    assert rows["retrained"]["test/acc"] > 0.9


# Bad input


@pytest.mark.parametrize(
    ("scenario", "key", "kind"),
    [
        (ClassForgetting(0, ["dgo"]), "scenario.classes", "choice"),
        (ClassForgetting(0, [4]), "scenario.classes", "choice"),
        (ClassForgetting(0, []), "scenario.classes", "value"),
        (ClassForgetting(0, [0, 1, 2, 3]), "scenario", "value"),  # nothing would be retained
        (ClassForgetting(0, ["dog"], count=4), "scenario.count", "value"),  # of 3
        (ClassForgetting(0, ["dog"], count=1, fraction=0.1), "scenario.count", "conflict"),
        (RandomForgetting(0, count=13), "scenario.count", "value"),  # of 12
        (RandomForgetting(0, count=12), "scenario", "value"),
        (RandomForgetting(0, fraction=0.01), "scenario.fraction", "value"),  # selects none of 12
        (SubclassForgetting(0, ["bea"]), "scenario.classes", "choice"),
        (SubclassForgetting(0, ["mammal"]), "scenario.classes", "choice"),  # a super-class
    ],
)
def test_a_request_that_the_data_cannot_serve_names_its_setting(
    kinds: Dataset, scenario: Scenario, key: str, kind: str
) -> None:
    with pytest.raises(UserError) as refused:
        scenario.prepare(kinds)
    assert (refused.value.key, refused.value.kind) == (key, kind)


def test_a_class_that_does_not_exist_is_answered_by_those_that_do(animals: Dataset) -> None:
    with pytest.raises(UserError) as refused:
        ClassForgetting(0, ["dgo"]).prepare(animals)
    assert str(refused.value) == "dataset animals has no class 'dgo': did you mean dog?"


def test_super_classes_must_exist(animals: Dataset) -> None:
    with pytest.raises(UserError) as refused:
        SubclassForgetting(0, ["dog"]).prepare(animals)
    assert (refused.value.key, refused.value.kind) == ("dataset.superclasses", "missing")


def test_a_class_without_training_samples_cannot_be_forgotten(animals: Dataset) -> None:
    with pytest.raises(UserError) as refused:
        ClassForgetting(0, ["emu"]).prepare(replace(animals, classes=(*CLASSES, "emu")))
    assert refused.value.key == "scenario"


@pytest.mark.parametrize(
    "choice", ["class", "random", "subclass", "data_entry", "label_shuffle", "confusion", "poison"]
)
@pytest.mark.parametrize(
    ("option", "value"),
    [("count", 0), ("count", -1), ("count", 2.5), ("count", True), ("fraction", 0.0), ("fraction", 1.5)],
)
def test_every_scenario_refuses_amounts_out_of_bounds(
    nodes: Callable[[str], dict], choice: str, option: str, value: object
) -> None:
    with pytest.raises(UserError) as refused:
        Spec("scenario", nodes(choice) | {option: value}).build()
    assert refused.value.key == f"scenario.{option}"


@pytest.mark.parametrize(
    ("choice", "option", "value"),
    [
        ("poison", "known", 0.0),
        ("poison", "known", 1.5),
        ("confusion", "known", -0.5),
        ("label_shuffle", "known_count", 0),
        ("poison", "patch", 0),
        ("poison", "margin", -1),
        ("poison", "value", 256),
        ("poison", "value", -1),
        ("poison", "corner", "middle"),
        ("class", "classes", "dog"),
    ],
)
def test_options_out_of_bounds_are_refused_before_anything_is_built(
    nodes: Callable[[str], dict], choice: str, option: str, value: object
) -> None:
    assert option in nodes(choice)
    with pytest.raises(UserError) as refused:
        Spec("scenario", nodes(choice) | {option: value}).build()
    assert refused.value.key == f"scenario.{option}"


@pytest.fixture(scope="module")
def nodes() -> Callable[[str], dict]:
    """The node of a choice of ``scenario=``, composed once."""
    found: dict[str, dict] = {}

    def node(choice: str) -> dict:
        if choice not in found:
            found[choice] = composed(f"scenario={choice}")[0]["scenario"]
        return found[choice]

    return node
