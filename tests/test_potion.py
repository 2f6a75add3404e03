"""Potion's search, by hand on four samples that one weight each decides."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from tests.by_hand import check_options, observed
from unlearning.errors import UserError
from unlearning.methods.potion import Potion
from unlearning.types import Batch

RATIOS = [0.0, 0.0, 0.0, 0.0, 10.0, 8.0, 6.0, 4.0]


def searching(samples_a_batch: int = 4, **options: float) -> Potion:
    """A search over four samples, each of which one weight decides.

    Class 1 scores 1 for every sample through a weight of its own, class 0 scores .7: dampening that weight, by its
    ratio of 4 to 10, makes the sample wrong.
    """
    model = nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.7], [1.0]]).expand(2, 4))
    method = observed(Potion(model, **options), RATIOS, [1.0] * 8, (25, 75))

    def look(stream: str) -> Iterator[Batch]:
        assert stream == "forget"
        for ids in torch.arange(4).split(samples_a_batch):
            yield Batch(torch.eye(4)[ids], torch.ones(len(ids), dtype=torch.long), ids, torch.ones(len(ids)) > 0)

    method.look = look
    method.count_passes()
    return method


@torch.no_grad()
@pytest.mark.parametrize(
    ("rho", "tries", "expected"),
    [
        # s = .01 10^k falls below 100 - ln(1 + 100 s) = 100 - k ln 10 (about). Of 8 ratios n are dampened where
        # p < 100 (8 - n) / 7: one from the start, two from ln(1 + 10^k) > 14.29 (k = 7), three from 28.57 (k = 13).
        (0.75, 1, [1 / 10, 1, 1, 1]),
        (0.74, 8, [1 / 10, 1 / 8, 1, 1]),
        (0.5, 8, [1 / 10, 1 / 8, 1, 1]),
        (0.49, 14, [1 / 10, 1 / 8, 1 / 6, 1]),
        (0.25, 14, [1 / 10, 1 / 8, 1 / 6, 1]),
    ],
)
def test_potion_stops_at_rho_and_dampens_the_original(rho: float, tries: int, expected: list[float]) -> None:
    method = searching(rho=rho, growth=10.0)
    with method.meter.running():
        method.edit()
    assert len(method.curves["percentile"]) == tries
    assert method.curves["percentile"][0].item() == pytest.approx(100 - np.log(2))
    # a try that was not restored would have left 1 / 10 of 1 / 10
    assert method.model.weight[1].tolist() == pytest.approx(expected)
    assert method.model.weight[0].tolist() == pytest.approx([0.7] * 4)
    assert method.meter.forward == 4 * (1 + tries)


@torch.no_grad()
def test_potion_counts_no_further_than_it_must() -> None:
    method = searching(samples_a_batch=1, rho=0.5, growth=10.0)
    with method.meter.running():
        assert method.correct() == 4
        assert method.correct(at_most=1) == 2
    assert method.meter.forward == 4 + 2


@torch.no_grad()
def test_potion_keeps_the_last_try_and_says_so() -> None:
    method = searching(rho=0.0, growth=10.0, tries=9)
    method.edit()
    assert method.model.weight[1].tolist() == pytest.approx([1 / 10, 1 / 8, 1, 1])
    assert len(method.curves["percentile"]) == 9
    assert method.curves["reached"] == [0]


@torch.no_grad()
def test_potion_ends_when_there_is_nothing_more_to_dampen() -> None:
    # 100 - ln(1 + 100 s) with s = .01 10^k is below 0 from k = 44 on: k = 44 is the 45th try.
    method = searching(rho=0.0, growth=10.0, tries=500)
    method.correct = lambda at_most=1: 4  # a sample that nothing makes it forget
    method.edit()
    assert method.curves["percentile"][-1] == 0
    assert len(method.curves["percentile"]) == 45
    assert method.curves["reached"] == [0]


@pytest.mark.parametrize(("option", "wrong"), [("rho", 1.5), ("growth", 1.0), ("tries", 0)])
def test_a_search_that_cannot_end_is_refused(option: str, wrong: float) -> None:
    with pytest.raises(UserError) as raised:
        check_options(Potion, **{option: wrong})
    assert (raised.value.key, raised.value.kind) == (f"method.{option}", "value")
