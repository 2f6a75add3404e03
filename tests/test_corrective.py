"""Corrective metrics over predictions made up by hand; every expected number is counted here."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from unlearning.metrics.base import Evidence, evaluate
from unlearning.metrics.corrective import Correction, InterclassConfusion
from unlearning.types import Split

# Rows 0-9 train, of which 0-5 are manipulated and 0-1 known; rows 10-15 test, of which 10-13 are like the manipulated.
# Rows 6 and 7 are of the two classes and clean.
TRUE = [0, 0, 0, 1, 1, 1, 0, 1, 2, 2, 0, 0, 1, 1, 2, 2]
GIVEN = [1, 1, 1, 0, 0, 0, 0, 1, 2, 2, 0, 0, 1, 1, 2, 2]
ORIGINAL = [1, 1, 2, 0, 0, 1, 0, 1, 2, 2, 0, 1, 0, 1, 2, 2]
MODEL = [0, 1, 2, 1, 0, 1, 1, 1, 2, 0, 0, 1, 2, 1, 2, 0]
METRICS = {"correction": Correction(), "confusion": InterclassConfusion()}


def logits(said: list[int]) -> Tensor:
    return torch.nn.functional.one_hot(torch.tensor(said), 3).float()


def ids(*numbers: int) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int64)


def evidence(said: list[int] = MODEL, given: list[int] = GIVEN, pair: bool = True) -> Evidence:
    test = ids(*range(10, 16))
    split = Split(
        train=ids(*range(10)),
        forget=ids(0, 1),
        retain=ids(*range(2, 10)),
        validation=ids(),
        test=test,
        test_forget=test[:4] if pair else ids(),
        test_retain=test[4:] if pair else test,
        manipulated=ids(*range(6)),
    )
    labels, true = torch.tensor(given), torch.tensor(TRUE)
    return Evidence(logits(said), labels, split, ("a", "b", "c"), original=logits(ORIGINAL), true_labels=true)


def found(one: Evidence) -> dict[str, float]:
    values, failed = evaluate(METRICS, one)
    assert not failed
    return {name.removeprefix("corrective/"): value for name, value in values.items()}


def test_a_confusion_by_hand() -> None:
    assert found(evidence()) == pytest.approx(
        {
            "acc_seen": 3 / 6,  # rows 0, 3, 5
            "acc_known": 1 / 2,  # row 0
            "acc_retain": 1 / 2,  # row 14 of 14 and 15
            "wrong_seen": 2 / 6,  # rows 1 and 4; row 2 is wrong in another way
            "poison_healed": 2 / 4,  # of rows 0, 1, 3, 4, which the original gets as taught, rows 0 and 3
            "acc_drop": 4 / 6 - 3 / 6,  # original: rows 10, 13, 14, 15; model: 10, 13, 14
            "ic_err_train": 4 / 8,  # rows 1, 2, 4, and 6, which is clean
            "ic_err_test": 2 / 4,  # rows 11 and 12
            "fgt_train": 3,  # rows 1, 4 and 6: row 2 is taken for the third class, and row 9 is of it
            "fgt_test": 1,  # row 11; row 12 is taken for the third class
            "acc_unseen": 2 / 4,
        }
    )


def test_other_manipulations_have_no_confused_pair_and_retain_all_of_test() -> None:
    values = found(evidence(pair=False))
    assert values["acc_retain"] == 3 / 6
    assert not [name for name in values if name.startswith(("ic_err", "fgt", "acc_unseen"))]


def test_labels_that_are_right_by_chance_are_not_wrong_ones() -> None:
    given = [0, 1, 1, 0, 0, 0, *GIVEN[6:]]  # row 0 as it was before
    values = found(evidence(given=given))
    assert values["wrong_seen"] == 2 / 5  # row 0 has no wrong label
    assert values["poison_healed"] == 1 / 3  # of rows 1, 3 and 4 row 3
    assert values["acc_seen"] == 3 / 6
    none = found(evidence(given=TRUE))
    assert {"wrong_seen", "poison_healed"}.isdisjoint(none)


def test_the_ends_of_the_scale() -> None:
    perfect, fooled = found(evidence(TRUE)), found(replace(evidence(GIVEN), original=logits(GIVEN)))
    assert (perfect["acc_seen"], perfect["wrong_seen"], perfect["poison_healed"]) == (1, 0, 1)
    assert (perfect["ic_err_test"], perfect["fgt_test"], perfect["acc_drop"]) == (0, 0, pytest.approx(-2 / 6))
    assert (fooled["acc_seen"], fooled["wrong_seen"], fooled["poison_healed"], fooled["fgt_train"]) == (0, 1, 0, 6)


def test_predictions_are_looked_up_by_id_whatever_the_order_of_the_sets() -> None:
    one = evidence()
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        mixed = {name: x[torch.randperm(len(x), generator=generator)] for name, x in one.split.sets.items()}
        assert found(replace(one, split=replace(one.split, **mixed))) == pytest.approx(found(one))


def test_there_is_nothing_to_say_where_nothing_was_manipulated() -> None:
    one = evidence()
    assert found(replace(one, split=replace(one.split, manipulated=ids()))) == {}
