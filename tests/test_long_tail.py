"""Long-tailed training sets: how many samples of each class stay, and that nothing else changes."""

from dataclasses import replace

import pytest
import torch

from tests.conftest import composed
from unlearning.data.datasets import Dataset
from unlearning.data.long_tail import counts_of, long_tailed
from unlearning.engine.job import Job
from unlearning.errors import UserError


def test_the_counts_fall_geometrically_by_hand() -> None:
    assert counts_of(torch.tensor([100, 100, 100]), 100).tolist() == [100, 10, 1]
    assert counts_of(torch.tensor([80, 60, 40, 20]), 8).tolist() == [80, 30, 10, 2]  # 1, 1/2, 1/4, 1/8 (2.5 to even)
    assert counts_of(torch.tensor([5, 0, 5]), 100).tolist() == [5, 0, 1]  # at least one of those that there are
    assert counts_of(torch.tensor([5]), 10).tolist() == [5]


def test_training_samples_alone_are_left_out() -> None:
    ids = torch.arange(60)
    inputs = torch.zeros(60, 1, 1, 1, dtype=torch.uint8)
    data = Dataset("trio", inputs, ids % 3, ("a", "b", "c"), ids[:45], ids[45:50], ids[50:], (0.0,), (1.0,))
    found = long_tailed(data, 9.0, 0)
    assert found.labels[found.train].bincount().tolist() == [15, 5, 2]
    assert torch.equal(found.train, found.train.unique())
    assert torch.isin(found.train, data.train).all()
    assert torch.equal(found.validation, data.validation)
    assert torch.equal(found.test, data.test)
    assert torch.equal(long_tailed(data, 9.0, 0).train, found.train)
    assert not torch.equal(long_tailed(data, 9.0, 1).train, found.train)
    assert long_tailed(data, None, 0) is data
    assert replace(found, train=data.train).digest == data.digest != found.digest


def test_a_tail_class_is_forgotten_from_the_command_line() -> None:
    job = Job.of(composed("split.imbalance=10", "scenario.classes=[9]", "tracking=none", "paths.root=/tmp")[0])
    counts = job.problem.data.labels[job.problem.split.train].bincount()
    assert len(job.problem.split.forget) == counts[9] == 13  # of 129 or 130
    assert counts[0] == 128
    assert len(job.problem.split.test) == 360


@pytest.mark.parametrize(
    ("words", "kind"), [(["split.imbalance=1"], "value"), (["split.imbalance=10", "pretrain.checkpoint=F"], "conflict")]
)
def test_what_cannot_be_is_refused(words: list[str], kind: str) -> None:
    with pytest.raises(UserError) as caught:
        Job.of(composed(*words, "tracking=none", "paths.root=/tmp")[0])
    assert (caught.value.key, caught.value.kind) == ("split.imbalance", kind)
