"""Relearning, step by step by hand."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.predictions import ids, one_hot, ten_samples
from unlearning.metrics.base import Evidence, evaluate
from unlearning.metrics.relearning import Relearning


class Scaled(nn.Module):
    """Logits x w of an image of one pixel x."""

    def __init__(self, *weights: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(weights))
        self.dropout = nn.Dropout(0.9)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(x.flatten(1)) * self.w


def back(epochs: int) -> dict[str, int]:
    """What is found where an epoch is one step."""
    return {"relearn/epochs": epochs, "relearn/steps": epochs}


@pytest.fixture
def evidence() -> Evidence:
    """A forget set of one sample of class 1 with the pixel 1, which the original has right and the model has wrong."""
    found = ten_samples()
    split = replace(found.split, forget=ids(1))
    model = Scaled(0.5, -0.5)
    return replace(found, split=split, original=one_hot(*[1] * 10), model=model, images=lambda i: torch.ones(len(i), 1))


def test_epochs_until_the_accuracy_is_back_by_hand(evidence: Evidence) -> None:
    # The gradient is (1 - p, p - 1) with the label's probability p. Of the difference d of the logits, from -1, a step
    # makes d + 2 lr (1 - p): with lr = .5, -1 + .7311 = -.2689, and then + .5668 = .2979, which is right.
    relearning = Relearning(lr=0.5, momentum=0.0)
    assert relearning(evidence) == back(2)
    assert Relearning(lr=0.6, momentum=0.0)(evidence) == back(2)
    assert Relearning(lr=0.7, momentum=0.0)(evidence) == {
        "relearn/epochs": 1,
        "relearn/steps": 1,
    }  # -1 + 1.4 * .7311 = .0235
    assert Relearning(lr=0.2, momentum=0.0)(evidence) == {
        "relearn/epochs": 4,
        "relearn/steps": 4,
    }  # -.7076, -.4397, -.1964, .0232
    assert Relearning(lr=0.2, momentum=0.9)(evidence) == {
        "relearn/epochs": 3,
        "relearn/steps": 3,
    }  # steps .2924, .5311, .4779 + ...
    assert isinstance(evidence.model, Scaled)
    assert evidence.model.w.tolist() == [0.5, -0.5]  # a copy learned


def test_steps_of_the_last_epoch_are_counted_by_hand(evidence: Evidence) -> None:
    """Of several copies of the sample in batches of one, each step is one of the steps above."""
    split = replace(evidence.split, forget=ids(1, 4, 4, 1, 1))  # all of class 1 with the pixel 1
    for lr in (0.5, 0.2, 0.1, 0.05):
        difference, steps = -1.0, 0
        while difference < 0:
            difference, steps = difference + 2 * lr / (1 + math.exp(difference)), steps + 1
        epochs = math.ceil(steps / 5)
        relearning = Relearning(lr=lr, momentum=0.0, batch_size=1, limit=epochs)
        assert relearning(replace(evidence, split=split)) == {"relearn/epochs": epochs, "relearn/steps": steps}


def test_what_the_model_still_knows_takes_no_epoch(evidence: Evidence) -> None:
    assert Relearning()(replace(evidence, model=Scaled(-0.1, 0.1))) == back(0)


def test_the_margin_is_a_fraction_of_the_originals_accuracy(evidence: Evidence) -> None:
    half = replace(
        evidence, split=replace(evidence.split, forget=ids(0, 1))
    )  # labels 0 and 1; the model says 0 to both
    assert Relearning()(half) == {
        "relearn/epochs": 0,
        "relearn/steps": 0,
    }  # the original has one of two right, and so has the model
    whole = replace(half, original=one_hot(0, 1, *[1] * 8), images=lambda i: torch.ones(len(i), 1))
    assert Relearning(margin=0.5)(whole) == back(0)
    opposed = replace(half, images=lambda i: torch.tensor([[-1.0], [1.0]])[i])  # of which the model has none right
    assert Relearning(margin=0.5)(opposed)["relearn/epochs"] > 0  # a quarter is wanted, not 1/2 - 1/2
    with pytest.raises(ValueError, match="not back"):  # one pixel cannot tell them apart
        Relearning(margin=0.4, limit=3)(whole)


def test_a_model_that_is_not_back_in_time_has_no_number(evidence: Evidence) -> None:
    values, failed = evaluate({"relearning": Relearning(lr=0.5, momentum=0.0, limit=1)}, evidence)
    assert values == {}
    assert list(failed) == ["relearning"]
