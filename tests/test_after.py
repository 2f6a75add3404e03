"""A request that follows an earlier one, by hand: its index sets, what is refused, and the metric on earlier ones."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from unlearning.data.datasets import Dataset
from unlearning.engine.after import Earlier
from unlearning.errors import UserError
from unlearning.metrics.base import Evidence
from unlearning.metrics.earlier import EarlierRequests
from unlearning.records.card import earlier_run, metrics
from unlearning.records.verdict import verdict
from unlearning.scenarios.base import assemble
from unlearning.scenarios.deletion_list import ListForgetting
from unlearning.scenarios.forgetting import ClassForgetting, RandomForgetting
from unlearning.scenarios.manipulations import LabelShuffle
from unlearning.types import Split


def ids(*numbers: int) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int64)


RAW = Dataset(  # training samples 0-7, whatever a scenario would draw of 8-9 (validation) and 10-11 (test)
    "twelve", torch.arange(24.0).view(12, 2), ids(*[0, 1] * 6), ("a", "b"), ids(*range(8)), ids(8, 9), ids(10, 11)
)
CONFIG = {
    "trial": None,
    "model": {"hidden": [4]},
    "split": {"seed": 0, "validation": 0.1, "test": 0.2},
    "pretrain": {"checkpoint": None, "seed": 0, "epochs": 3},
    "retrained": True,
    "choices": {"model": "mlp", "pretrain": "wine"},
}


def earlier(data: Dataset = RAW, **parts: Any) -> Earlier:
    """The second of two runs: the first one forgot samples 0 and 3, the second one 5, of all that were left."""
    split = assemble(replace(data, train=ids(1, 2, 4, 5, 6, 7)), ids(5), torch.zeros(12, dtype=torch.bool))
    results = {"config": CONFIG, "run_key": "k", "weights": "w", "after": {"requests": 1}, "checkpoint": None}
    return Earlier(Path(), results | {"inputs": {}} | parts, split, ids(0, 3), data.digest)


@pytest.fixture
def listing(tmp_path: Path) -> Callable[..., ListForgetting]:
    """A function that makes a request of some ids; of several lists, a joint one."""

    def made(*lists: list[int]) -> ListForgetting:
        files = [tmp_path / f"{number}.json" for number in range(len(lists))]
        for file, numbers in zip(files, lists, strict=True):
            file.write_text(json.dumps(numbers))
        return ListForgetting(0, str(files[0]) if len(files) == 1 else [str(file) for file in files])

    return made


def test_earlier_samples_are_in_no_set_and_the_data_stay_the_same(listing: Callable) -> None:
    before = earlier()
    problem, left = before.problem(listing([2, 7]), RAW)
    split = problem.split
    assert before.ids.tolist() == [0, 3, 5]
    assert (split.forget.tolist(), split.retain.tolist()) == ([2, 7], [1, 4, 6])
    assert (split.train.tolist(), left.train.tolist()) == ([1, 2, 4, 6, 7],) * 2
    assert (split.validation.tolist(), split.test.tolist()) == ([8, 9], [10, 11])
    assert problem.data.digest == RAW.digest  # so that the store finds what other requests made of these data
    assert before.about == {"run_key": "k", "weights": "w", "requests": 2, "samples": 3}


def test_classes_and_draws_are_of_what_is_left() -> None:
    split = earlier().problem(ClassForgetting(0, ["b"]), RAW)[0].split
    assert (split.forget.tolist(), split.forget_classes) == ([1, 7], (1,))
    assert earlier().problem(RandomForgetting(0, fraction=1 / 5), RAW)[0].split.train.tolist() == [1, 2, 4, 6, 7]


def test_the_sets_are_those_of_the_run_whatever_the_split_says(listing: Callable) -> None:
    drawn = replace(RAW, train=ids(*range(4, 12)), validation=ids(0), test=ids(1, 2, 3))
    assert earlier().problem(listing([2, 7]), drawn)[0].split.digest == (
        earlier().problem(listing([2, 7]), RAW)[0].split.digest
    )


@pytest.mark.parametrize("twice", [[0], [3, 5]])
def test_samples_that_are_requested_twice_are_refused_by_name(twice: list[int], listing: Callable) -> None:
    with pytest.raises(UserError, match=f"{len(twice)} samples .*: {', '.join(map(str, twice))}:") as caught:
        earlier().problem(listing([2, *twice]), RAW)
    assert (caught.value.key, caught.value.kind) == ("scenario.file", "conflict")


def test_what_no_model_has_learned_cannot_be_requested(listing: Callable) -> None:
    with pytest.raises(UserError, match="8") as caught:  # of validation: it cannot be moved any more
        earlier().problem(listing([2, 8]), RAW)
    assert (caught.value.key, caught.value.kind) == ("scenario.file", "conflict")


@pytest.mark.parametrize(
    ("scenario", "data"),
    [
        (ClassForgetting(0, ["b"]), replace(RAW, inputs=RAW.inputs + 1)),
        (RandomForgetting(0, count=1, learned=0.5), RAW),
        (LabelShuffle(0, count=4), RAW),
    ],
)
def test_other_data_and_other_samples_are_refused(scenario: Any, data: Dataset) -> None:
    with pytest.raises(UserError) as caught:
        earlier().problem(scenario, data)
    assert (caught.value.key, caught.value.kind) == ("after", "conflict")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "other",
    [
        {"model": {"hidden": [8]}},
        {"split": {"seed": 1, "validation": 0.1, "test": 0.2}},
        {"split": {"seed": 0, "validation": 0.2, "test": 0.2}},
        {"pretrain": {"checkpoint": __file__, "seed": 0, "epochs": 3}},
        {"pretrain": {"checkpoint": None, "seed": 1, "epochs": 3}},
        {"pretrain": {"checkpoint": None, "seed": 0, "epochs": 4}},
        {"pretrain": {"checkpoint": None, "seed": 0, "epochs": 3, "ensemble": {"shards": 2}}},
    ],
)
def test_another_model_recipe_or_split_is_refused(other: dict[str, Any]) -> None:
    earlier().check(CONFIG)
    with pytest.raises(UserError) as caught:
        earlier().check(CONFIG | other)
    assert (caught.value.key, caught.value.kind) == ("after", "conflict")
    with pytest.raises(UserError, match="trial"):
        earlier(config=CONFIG | {"trial": 4}).check(CONFIG)


def test_a_model_of_ones_own_is_bound_to_the_recipe_by_its_retrained_models_alone() -> None:
    own, other = earlier(checkpoint="digest"), {"checkpoint": None, "seed": 1, "epochs": 3}
    own.check(CONFIG | {"pretrain": other})  # of a model that is not trained here the seed says nothing
    own.check(CONFIG | {"pretrain": other | {"epochs": 4}, "retrained": False})
    for config in ({"epochs": 4}, {"ensemble": {"shards": 2}}):
        with pytest.raises(UserError):
            own.check(CONFIG | {"pretrain": other | config, "retrained": "ensemble" not in config})


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    for name in ("DONE", "results.json", "split.safetensors"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"lacks unlearned\.safetensors") as caught:
        Earlier.read(tmp_path)
    assert (caught.value.key, caught.value.kind) == ("after", "file")


def test_several_lists_are_one_joint_request(listing: Callable) -> None:
    problem = listing([1, 2], [2, 6]).prepare(RAW)
    assert problem.split.forget.tolist() == [1, 2, 6]
    assert (problem.selected["entries"], problem.selected["duplicates"]) == (4, 1)


# What is said of it


ROWS = {name: {"forget/acc": 0.5, "retain/acc": 0.9, "earlier/acc": 0.25} for name in ("original", "unlearned")}
FOUND = {
    "rows": ROWS,
    "gaps": {},
    "failed": {},
    "sizes": {"forget": 2, "manipulated": 0},
    "notes": [],
    "same_parameters": False,
    "after": {"requests": 2, "samples": 7, "run_key": "k", "weights": "w"},
}


def test_the_verdict_and_the_card_speak_of_earlier_requests() -> None:
    assert "; of the 7 of earlier requests it is right about 0.250 (0.250 before)." in verdict(FOUND)
    retrained = {"retrained": {"forget/acc": 0.5, "retain/acc": 0.9, "earlier/acc": 0.75}}
    assert "0.250 (0.250 before), that model about 0.750." in verdict(FOUND | {"rows": ROWS | retrained})
    assert "earlier requests" not in verdict(FOUND | {"after": None})
    assert "2 earlier requests over 7 samples" in earlier_run(FOUND["after"])[0]
    assert earlier_run(None) == []


def test_without_a_retrained_model_the_card_says_which_numbers_say_nothing() -> None:
    alone, both = metrics(FOUND), metrics(FOUND | {"rows": ROWS | {"retrained": {}}})
    assert alone[0] == "| metric | original | unlearned |"
    assert any(line.startswith("No retrained model: forget/acc") for line in alone)
    assert both[0] == "| metric | original | unlearned | retrained | gap to retrained |"
    assert not any("No retrained model" in line for line in both)


# The metric, by hand


def test_the_metric_by_hand() -> None:
    """Losses of members are ln(1 + e^-2) and ln(1 + e^1), of the test samples ln(1 + e^0): one of two pairs is won."""
    logits = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0], [9.0, 0.0]])
    labels, none = torch.tensor([0, 1, 0, 1, 1]), torch.empty(0, dtype=torch.int64)
    split = Split(none, none, none, none, torch.tensor([2, 3]), none, none)
    evidence = Evidence(logits, labels, split, ("a", "b"), earlier=torch.tensor([0, 1]))
    assert EarlierRequests()(evidence) == {"earlier/acc": 0.5, "earlier/loss_auc": 0.5}
    one = Evidence(logits, labels, split, ("a", "b"), earlier=torch.tensor([0]))
    assert EarlierRequests()(one) == {"earlier/acc": 1.0}
    assert not EarlierRequests().applies_to(Evidence(logits, labels, split, ("a", "b")))
