"""The corrective scenarios on data small enough to count by hand, and what the store makes of a known part."""

import json
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from tests.conftest import composed
from unlearning import pipeline
from unlearning.config.legend import TAUGHT
from unlearning.data.datasets import Dataset
from unlearning.data.transform import Transform
from unlearning.engine.job import Job
from unlearning.engine.predict import predict
from unlearning.engine.store import Store
from unlearning.errors import UserError
from unlearning.report.run_table import one_line, run_table
from unlearning.request import Request
from unlearning.runtime.digests import ids_digest
from unlearning.scenarios.base import Problem
from unlearning.scenarios.manipulations import Confusion, DataEntry, LabelShuffle, Manipulation
from unlearning.scenarios.poison import Poison
from unlearning.types import Split

Make = Callable[..., Manipulation]
CLASSES = ("ant", "bee", "cow", "dog")
EACH: dict[str, Make] = {
    "confusion": lambda **options: Confusion(0, ["bee", 3], **{"count": 20} | options),
    "label_shuffle": lambda **options: LabelShuffle(0, **{"count": 20} | options),
    "data_entry": lambda **options: DataEntry(0, **{"count": 20} | options),
    "poison": lambda **options: Poison(0, **{"count": 20} | options),
}
NONE = torch.arange(0)


@pytest.fixture
def animals() -> Dataset:
    """Rows 0-59 train, 60-69 validation, 70-89 test; row i is of class i mod 4."""
    ids = torch.arange(90)
    inputs = torch.zeros(90, 4, 4, 1, dtype=torch.uint8)
    return Dataset("animals", inputs, ids % 4, CLASSES, ids[:60], ids[60:70], ids[70:], (0.0,), (1.0,))


@pytest.fixture(params=EACH)
def make(request: pytest.FixtureRequest) -> Make:
    return EACH[request.param]


def split_of(scenario: Manipulation, data: Dataset) -> Split:
    return scenario.prepare(data).split


def test_a_part_is_known_and_the_rest_stays_in_the_retain_set(make: Make, animals: Dataset) -> None:
    for options, size in (({"known": 0.3}, 6), ({"known_count": 7}, 7), ({}, 20), ({"known": 0.04}, 1)):
        split = split_of(make(**options), animals)
        assert len(split.manipulated) == 20
        assert len(split.forget) == size
        assert set(split.forget.tolist()) <= set(split.manipulated.tolist())
        assert sorted(split.forget.tolist() + split.retain.tolist()) == list(range(60))
        assert split.forget_classes == ()


def test_what_is_manipulated_does_not_depend_on_what_is_known(make: Make, animals: Dataset) -> None:
    options = [{"known": gamma} for gamma in (0.1, 0.5, 1.0)] + [{"known_count": 3}, {"known": 0.5, "known_seed": 9}]
    problems = [make(**o).prepare(animals) for o in options]
    assert len({problem.data.digest for problem in problems}) == 1
    splits = [problem.split for problem in problems]
    assert len({tuple(s.manipulated.tolist()) for s in splits}) == 1
    tenth, half, whole, three, other = (set(s.forget.tolist()) for s in splits)
    assert tenth < three < half < whole
    assert other != half
    assert other < whole


def test_the_known_part_is_drawn_uniformly(make: Make, animals: Dataset) -> None:
    """The seed of S_m stays: each of its samples is known in about half of 400 draws (4 deviations are 40)."""
    found = torch.cat([split_of(make(known=0.5, known_seed=seed), animals).forget for seed in range(400)])
    counts = found.bincount(minlength=90)[split_of(make(), animals).manipulated]
    assert counts.sum() == 4000
    assert ((counts - 200).abs() < 45).all()


def test_training_labels_outside_and_all_other_labels_stay(make: Make, animals: Dataset) -> None:
    problem = make().prepare(animals)
    differs = (problem.data.labels != animals.labels).nonzero().flatten()
    assert set(differs.tolist()) <= set(problem.split.manipulated.tolist())
    assert len(differs) > 5
    assert torch.equal(problem.data.true_labels, animals.labels)
    assert problem.data.digest != animals.digest  # so the original model is another one


def test_a_problem_without_manipulated_samples_looks_as_the_clean_data(make: Make, animals: Dataset) -> None:
    ids = torch.arange(90)
    untouched = make().spoiled(animals, NONE)
    assert torch.equal(untouched.labels, animals.labels)
    assert torch.equal(Transform(untouched)(untouched.inputs, ids=ids), Transform(animals)(animals.inputs, ids=ids))


def test_confusion_swaps_the_labels_of_half_of_each(animals: Dataset) -> None:
    for options, size in (({"count": 12}, 6), ({"count": None, "fraction": 0.5}, 7), ({"count": None}, 7)):
        # of 15 bees and 15 dogs; half of them are 15, of which 14 can be halved
        problem = EACH["confusion"](**options).prepare(animals)
        split = problem.split
        true, given = animals.labels[split.manipulated], problem.data.labels[split.manipulated]
        assert [(true == 1).sum().item(), (true == 3).sum().item()] == [size, size]
        assert torch.equal(given, 4 - true)
        assert split.test_forget.tolist() == [71, 73, 75, 77, 79, 81, 83, 85, 87, 89]
        assert split.test_retain.tolist() == [70, 72, 74, 76, 78, 80, 82, 84, 86, 88]


def test_a_shuffle_keeps_the_number_of_each_label(animals: Dataset) -> None:
    shuffles = []
    for seed in range(5):
        problem = LabelShuffle(seed, count=40).prepare(animals)
        ids = problem.split.manipulated
        before, after = animals.labels[ids], problem.data.labels[ids]
        assert torch.equal(before.bincount(), after.bincount())
        assert (before != after).sum() > 20  # about three quarters of them
        shuffles.append(tuple(after.tolist()))
    assert len(set(shuffles)) == 5


def test_who_is_known_tells_nothing_of_the_new_labels(animals: Dataset) -> None:
    """Even if all seeds are equal, the known part does not follow the order of the permutation."""
    many = replace(animals, labels=torch.arange(90), classes=tuple(map(str, range(90))))
    same = 0
    for seed in range(50):
        problem = LabelShuffle(seed, count=20, known=0.25).prepare(many)
        same += int(torch.isin(problem.data.labels[problem.split.forget], problem.split.forget).sum())
    assert 30 < same < 100  # 5 of 20 known labels on 5 known samples: 50 x 25 / 20 = 62.5 on average


@pytest.mark.parametrize(
    ("scenario", "key", "kind"),
    [
        (lambda: EACH["confusion"](count=7), "scenario.count", "value"),  # cannot be halved
        (lambda: EACH["confusion"](count=32), "scenario.count", "value"),  # of 30 bees and dogs
        (lambda: Confusion(0, ["bee", "emu"], count=6), "scenario.count", "value"),  # there are 2 emus
        (lambda: Confusion(0, ["bee"]), "scenario.classes", "value"),
        (lambda: Confusion(0, ["bee", 1]), "scenario.classes", "value"),  # one class twice
        (lambda: Confusion(0, ["bee", "cat"]), "scenario.classes", "choice"),
        (lambda: EACH["poison"](known=0.01), "scenario.known", "value"),  # selects none of 20
        (lambda: EACH["poison"](known_count=21), "scenario.known_count", "value"),  # of 20
        (lambda: EACH["poison"](known=0.5, known_count=3), "scenario.known", "conflict"),
        (lambda: LabelShuffle(0, count=1), "scenario.count", "value"),  # one label cannot be permuted
        (lambda: EACH["poison"](count=61), "scenario.count", "value"),  # of 60
        (lambda: EACH["data_entry"](fraction=0.5), "scenario.count", "conflict"),
        (lambda: EACH["poison"](patch=5), "scenario.patch", "value"),  # on 4 x 4 pixels
        (lambda: EACH["poison"](target="cat"), "scenario.target", "choice"),
        (lambda: EACH["label_shuffle"](count=60), "scenario", "value"),  # nothing would be retained
    ],
)
def test_a_request_that_the_data_cannot_serve_names_its_setting(
    animals: Dataset, scenario: Callable[[], Manipulation], key: str, kind: str
) -> None:
    labels = animals.labels.clone()
    labels[[0, 4]] = 4  # two ants become emus
    zoo = replace(animals, labels=labels, classes=(*CLASSES, "emu"))
    with pytest.raises(UserError) as refused:
        scenario().prepare(zoo)
    assert (refused.value.key, refused.value.kind) == (key, kind)


# In the pipeline


def job_of(*words: str) -> Job:
    return Job.of(composed("method=original", "tracking=none", *words)[0])


def test_a_sweep_over_the_known_part_trains_one_original_model(places: list[str]) -> None:
    keys: dict[str, list[str]] = {}
    for words in (
        *([f"scenario={s}", f"scenario.known={k}"] for s in ("poison", "confusion") for k in (0.1, 0.5, 1.0)),
        ["scenario=poison", "scenario.count=80"],
        ["scenario=poison", "scenario.patch=1"],
    ):
        problem = job_of(*words, *places).problem
        train, manipulated, clean = problem.split.train, problem.split.manipulated, problem.split.all_known
        assert torch.equal(clean.retain, train[~torch.isin(train, manipulated)])
        keys.setdefault(problem.data.digest, []).append(ids_digest(clean.retain))
    assert [len(found) for found in keys.values()] == [3, 3, 1, 1]
    assert [len(set(found)) for found in keys.values()] == [1, 1, 1, 1]  # and one clean model


def test_the_original_model_of_a_poison_of_no_sample_is_that_of_the_clean_data(
    places: list[str], tmp_path: Path
) -> None:
    """Each is trained in a store of its own, so that none is mistaken for another."""
    job = job_of("scenario=poison", "pretrain.epochs=1", "model=mlp", *places)
    raw, train = job_of("scenario=random", *places).problem.data, job.problem.split.train
    data = {"clean": raw, "none": EACH["poison"](patch=2).spoiled(raw, NONE), "some": job.problem.data}
    weights = {}
    for name, learned in data.items():
        lab = replace(job.lab, store=Store(tmp_path / name))
        problem = Problem.of(learned, job.problem.split)
        weights[name] = lab.train(problem, job.recipe, train, job.pretrain_seed).network.state_dict()
    assert all(torch.equal(weights["clean"][n], t) for n, t in weights["none"].items())
    assert not all(torch.equal(weights["clean"][n], t) for n, t in weights["some"].items())


def test_predictions_follow_the_samples_and_not_their_order(places: list[str]) -> None:
    job = job_of("scenario=poison", *places)
    problem, compute = job.problem, job.lab.compute
    torch.manual_seed(0)
    network = job.lab.architecture.network(problem.data)
    in_order = predict(network, problem, compute)
    ids = torch.randperm(len(problem.data.labels), generator=torch.Generator().manual_seed(0))
    assert torch.allclose(predict(network, problem, compute, ids), in_order[ids], atol=1e-5)
    untriggered = replace(problem, data=replace(problem.data, trigger=None))
    differs = (predict(network, untriggered, compute) - in_order).abs().amax(1) > 1e-4
    assert torch.equal(differs.nonzero().flatten(), problem.split.manipulated)  # these alone have the square


@pytest.mark.slow
def test_the_clean_model_is_a_row_where_not_all_are_known(places: list[str]) -> None:
    words = ["scenario=poison", "scenario.known=0.2", "method=original", "evaluation.membership=null", "tracking=none"]
    words += ["pretrain.epochs=6", *places]
    found = json.loads((pipeline.run(Request(*composed(*words), words)) / "results.json").read_text())
    rows = found["rows"]
    assert list(rows) == ["original", "retrained", "clean", "unlearned"]
    assert found["sizes"]["manipulated"] == 129
    assert found["sizes"]["forget"] == 26
    assert rows["original"]["backdoor/attack"] > 0.9
    assert rows["retrained"]["backdoor/attack"] > 0.9  # four fifths of the poison are still in its training data
    assert rows["clean"]["backdoor/attack"] < 0.05
    assert rows["clean"]["corrective/acc_seen"] > 0.9 > 0.2 > rows["retrained"]["corrective/acc_seen"]
    assert rows["original"]["corrective/acc_drop"] == 0
    assert rows["original"]["corrective/poison_healed"] == 0
    shown = printed(found)
    families = [line.split()[1].split("/")[0] for line in shown.splitlines() if line.startswith("│")]
    assert families[:10] == ["corrective"] * 6 + ["backdoor"] + ["corrective"] * 2 + ["forget"]
    assert TAUGHT in " ".join(shown.split())
    all_known = found | {"sizes": found["sizes"] | {"forget": 129}}
    assert TAUGHT not in " ".join(printed(all_known).split())
    narrow = "".join(line.split("│")[1].strip() for line in printed(found, width=80).splitlines() if line[0] == "│")
    assert all(metric in narrow for metric in rows["unlearned"] if not metric.startswith("class_acc/"))
    assert one_line(found).startswith(f"corrective/acc_seen {rows['unlearned']['corrective/acc_seen']:.3f}  ")


def printed(results: dict, width: int = 400) -> str:
    console = Console(width=width, file=StringIO())
    run_table(results, console)
    return console.file.getvalue()
