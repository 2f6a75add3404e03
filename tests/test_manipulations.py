"""The corrective scenarios on data small enough to count by hand, and what the store makes of a known part."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch.utils.data import DataLoader

from tests.conftest import composed
from unlearning.config import build
from unlearning.data.datamodule import Rows, UnlearningData, as_is
from unlearning.data.datasets import Dataset
from unlearning.engine.predict import predict
from unlearning.engine.store import Store
from unlearning.errors import UserError
from unlearning.metrics.base import Evidence, evaluate
from unlearning.metrics.directions import TAUGHT
from unlearning.pipeline import Run, run
from unlearning.records.folder import ids_digest
from unlearning.report.run_table import one_line, run_table
from unlearning.scenarios.manipulations import Confusion, DataEntry, LabelShuffle, Manipulation, Poison

CLASSES = ("ant", "bee", "cow", "dog")
EACH = {
    "confusion": lambda **options: Confusion(0, ["bee", 3], **{"count": 20} | options),
    "label_shuffle": lambda **options: LabelShuffle(0, **{"count": 20} | options),
    "data_entry": lambda **options: DataEntry(0, **{"count": 20} | options),
    "poison": lambda **options: Poison(0, **{"count": 20} | options),
}


@pytest.fixture
def animals() -> Dataset:
    """Rows 0-59 train, 60-69 validation, 70-89 test; row i is of class i mod 4."""
    ids = torch.arange(90)
    inputs = torch.zeros(90, 4, 4, 1, dtype=torch.uint8)
    return Dataset("animals", inputs, ids % 4, CLASSES, ids[:60], ids[60:70], ids[70:], (0.0,), (1.0,))


def with_two_emus(animals: Dataset) -> Dataset:
    labels = animals.labels.clone()
    labels[[1, 3]] = 4
    return replace(animals, labels=labels, classes=(*CLASSES, "emu"))


@pytest.fixture(params=EACH)
def make(request: pytest.FixtureRequest):
    return EACH[request.param]


def test_a_part_is_known_and_the_rest_stays_in_the_retain_set(make, animals: Dataset) -> None:
    for options, size in (({"known": 0.3}, 6), ({"known_count": 7}, 7), ({}, 20), ({"known": 0.04}, 1)):
        split = make(**options).split(animals)
        assert len(split.manipulated) == 20
        assert len(split.forget) == size
        assert set(split.forget.tolist()) <= set(split.manipulated.tolist())
        assert sorted(split.forget.tolist() + split.retain.tolist()) == list(range(60))
        assert split.forget_classes == ()


def test_what_is_manipulated_does_not_depend_on_what_is_known(make, animals: Dataset) -> None:
    options = [{"known": gamma} for gamma in (0.1, 0.5, 1.0)] + [{"known_count": 3}, {"known": 0.5, "known_seed": 9}]
    scenarios = [make(**o) for o in options]
    assert len({s.manipulated(animals).digest for s in scenarios}) == 1
    splits = [s.split(animals) for s in scenarios]
    assert len({tuple(s.manipulated.tolist()) for s in splits}) == 1
    tenth, half, whole, three, other = (set(s.forget.tolist()) for s in splits)
    assert tenth < three < half < whole
    assert other != half
    assert other < whole


def test_the_known_part_is_drawn_uniformly(make, animals: Dataset) -> None:
    """The seed of S_m stays: each of its samples is known in about half of 400 draws (4 deviations are 40)."""
    found = torch.cat([make(known=0.5, known_seed=seed).split(animals).forget for seed in range(400)])
    counts = found.bincount(minlength=90)[make().split(animals).manipulated]
    assert counts.sum() == 4000
    assert ((counts - 200).abs() < 45).all()


def test_training_labels_outside_and_all_other_labels_stay(make, animals: Dataset) -> None:
    scenario = make()
    changed, split = scenario.manipulated(animals), scenario.split(animals)
    differs = (changed.labels != animals.labels).nonzero().flatten()
    assert set(differs.tolist()) <= set(split.manipulated.tolist())
    assert len(differs) > 5
    assert torch.equal(changed.true_labels, animals.labels)
    assert changed.digest != animals.digest  # so the original model is another one
    assert scenario.split(changed).digest == split.digest
    assert make(known=0.5).split(changed).digest == make(known=0.5).split(animals).digest


def test_nothing_manipulated_is_the_clean_data_and_nothing_to_forget(make, animals: Dataset) -> None:
    assert make(count=0).manipulated(animals).digest == animals.digest
    with pytest.raises(UserError, match=r"scenario.count=0 manipulates no sample, so there is nothing to forget"):
        make(count=0).split(animals)


def test_confusion_swaps_the_labels_of_half_of_each(animals: Dataset) -> None:
    for options, size in (({"count": 12}, 6), ({"count": None, "fraction": 0.5}, 7), ({"count": None}, 7)):
        scenario = EACH["confusion"](**options)  # of 15 bees and 15 dogs; .5 of them are 15, of which 14 can be halved
        changed, split = scenario.manipulated(animals), scenario.split(animals)
        true, given = animals.labels[split.manipulated], changed.labels[split.manipulated]
        assert [(true == 1).sum().item(), (true == 3).sum().item()] == [size, size]
        assert torch.equal(given, 4 - true)
        assert split.test_forget.tolist() == [71, 73, 75, 77, 79, 81, 83, 85, 87, 89]
        assert split.test_retain.tolist() == [70, 72, 74, 76, 78, 80, 82, 84, 86, 88]


def test_a_shuffle_keeps_the_number_of_each_label(animals: Dataset) -> None:
    shuffles = []
    for seed in range(5):
        scenario = LabelShuffle(seed, count=40)
        ids = scenario.split(animals).manipulated
        before, after = animals.labels[ids], scenario.manipulated(animals).labels[ids]
        assert torch.equal(before.bincount(), after.bincount())
        assert (before != after).sum() > 20  # about three quarters of them
        shuffles.append(tuple(after.tolist()))
    assert len(set(shuffles)) == 5


def test_who_is_known_tells_nothing_of_the_new_labels(animals: Dataset) -> None:
    """With the same seed for everything: the known part is no part of the permutation's own order."""
    many = replace(animals, labels=torch.arange(90))
    same = 0
    for seed in range(50):
        scenario = LabelShuffle(seed, count=20, known=0.25)
        split, labels = scenario.split(many), scenario.manipulated(many).labels
        same += int(torch.isin(labels[split.forget], split.forget).sum())
    assert 30 < same < 100  # 5 of 20 known labels on 5 known samples: 50 x 25 / 20 = 62.5 on average


@pytest.mark.parametrize(
    ("scenario", "message"),
    [
        (lambda: EACH["confusion"](count=7), r"scenario.count=7 must be even: .* take 6 or 8"),
        (lambda: EACH["confusion"](count=32), "scenario.count=32 cannot be drawn: animals has 30"),
        (lambda: Confusion(0, [0, "emu"], count=6), r"takes 3 of class emu, which has 2 in .* must be from 2 to 4"),
        (lambda: Confusion(0, ["bee"]), r"scenario.classes=\['bee'\] must name the two classes"),
        (lambda: Confusion(0, ["bee", 1]), r"scenario.classes=\['bee', 1\] is one class twice"),
        (lambda: Confusion(0, ["bee", "cat"]), "no class 'cat'"),
        (lambda: EACH["poison"](known=0.0), r"scenario.known=0.0 must lie in \(0, 1\]"),
        (lambda: EACH["poison"](known=1.5), r"scenario.known=1.5 must lie in \(0, 1\]"),
        (lambda: EACH["poison"](known=0.01), "scenario.known=0.01 makes 0 of the 20 manipulated samples known"),
        (
            lambda: LabelShuffle(0, count=1),
            "the labels of one sample cannot be shuffled: scenario.count must be at least",
        ),
        (lambda: EACH["poison"](known_count=21), "scenario.known_count=21 makes 21 of the 20"),
        (lambda: EACH["poison"](known_count=0), "scenario.known_count=0 makes 0 of the 20"),
        (lambda: EACH["poison"](known=0.5, known_count=3), r"known=0.5 and scenario.known_count=3 are both given"),
        (lambda: EACH["poison"](count=61), "scenario.count=61 cannot be drawn: animals has 60"),
        (lambda: EACH["poison"](patch=5), "does not fit into images of 4 x 4 pixels"),
        (lambda: EACH["label_shuffle"](count=60), "the whole training set: nothing is left"),
    ],
)
def test_bad_requests_are_explained(animals: Dataset, scenario, message: str) -> None:
    def request(made: Manipulation, data: Dataset) -> None:
        made.manipulated(data)
        made.split(data)

    with pytest.raises(UserError, match=message):
        request(scenario(), with_two_emus(animals) if "emu" in message else animals)


# In the pipeline


def prepared(places: list[str], tmp_path: Path, *words: str) -> Run:
    return Run(composed("method=original", "tracking=none", *words, *places)[0], tmp_path)


def test_a_sweep_over_the_known_part_trains_one_original_model(
    places: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: dict[str, list[str]] = {}
    for words in (
        *([f"scenario={s}", f"scenario.known={k}"] for s in ("poison", "confusion") for k in (0.1, 0.5, 1.0)),
        ["scenario=poison", "scenario.count=80"],
        ["scenario=poison", "scenario.patch=1"],
    ):
        one = prepared(places, tmp_path, *words)
        clean = one.split.all_known
        assert torch.equal(clean.retain, one.data.train[~torch.isin(one.data.train, one.split.manipulated)])
        keys.setdefault(one.data.digest, []).append(ids_digest(clean.retain))
    assert [len(found) for found in keys.values()] == [3, 3, 1, 1]
    assert [len(set(found)) for found in keys.values()] == [1, 1, 1, 1]  # and one clean model


def test_a_poison_of_no_sample_learns_the_clean_data(places: list[str], tmp_path: Path) -> None:
    clean = build.dataset(composed()[0])
    assert build.dataset(composed("scenario=poison", "scenario.count=0")[0]).digest == clean.digest
    assert build.dataset(composed("scenario=poison", "scenario.count=5")[0]).digest != clean.digest
    with pytest.raises(UserError, match="there is nothing to forget"):
        prepared(places, tmp_path, "scenario=poison", "scenario.count=0")


def test_the_original_model_of_a_poison_of_no_sample_is_that_of_the_clean_pipeline(
    places: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is trained in a store of its own, so that none is taken for another."""
    keys, models, found = {}, {}, {}
    poison = ["scenario=poison"]
    for name, words in {"clean": [], "none": [*poison, "scenario.count=0"], "some": poison}.items():
        one = prepared(places, tmp_path, "pretrain.epochs=1")
        monkeypatch.setattr(one, "store", Store(tmp_path / name))
        monkeypatch.setattr(one, "data", build.dataset(composed(*words)[0]))  # with none there is no split of its own
        models[name] = one.reference("original")
        keys[name] = {path.name for path in (tmp_path / name / "models").glob("*.safetensors")}
        evidence = Evidence(models[name].logits, one.data.labels, one.split, one.data.classes)
        found[name], failed = evaluate(one.metrics, evidence)
        assert not failed
    weights = {name: model.network.state_dict() for name, model in models.items()}
    assert len(keys["clean"]) == 1
    assert keys["clean"] == keys["none"] != keys["some"]
    assert all(torch.equal(weights["clean"][n], t) for n, t in weights["none"].items())
    assert not all(torch.equal(weights["clean"][n], t) for n, t in weights["some"].items())
    assert found["clean"] == found["none"] != found["some"]
    assert {"test/acc", "retain/acc"} < found["clean"].keys()


def test_a_shuffled_loader_changes_no_prediction(
    places: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = prepared(places, tmp_path, "scenario=poison")
    torch.manual_seed(0)
    network = build.model(one.config, one.data)
    in_order = predict(network, one.trainer(), one.datamodule())
    ids = torch.randperm(len(one.data.labels), generator=torch.Generator().manual_seed(0))
    rows = Rows(one.data, ids, torch.zeros(len(ids), dtype=torch.bool))
    loader = DataLoader(rows, batch_size=100, collate_fn=as_is)
    monkeypatch.setattr(UnlearningData, "predict_dataloader", lambda _: loader)
    assert torch.allclose(predict(network, one.trainer(), one.datamodule()), in_order, atol=1e-5)
    untriggered = replace(one.data, trigger=None)  # the poisoned samples, and no others, are predicted with the square
    monkeypatch.setattr(one, "data", untriggered)
    differs = (predict(network, one.trainer(), one.datamodule()) - in_order).abs().amax(1) > 1e-4
    assert torch.equal(differs.nonzero().flatten(), one.split.manipulated)


def test_the_clean_model_is_a_row_where_not_all_are_known(places: list[str]) -> None:
    words = ["scenario=poison", "scenario.known=0.2", "method=original", "evaluation.membership=null", "tracking=none"]
    words += ["pretrain.epochs=6"]
    config, choices = composed(*words, *places)
    found = json.loads((run(config, choices, command="test") / "results.json").read_text())
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
