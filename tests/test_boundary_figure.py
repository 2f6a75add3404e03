"""The figure of the way to the decision boundary: distances worked out by hand, and what of them is drawn."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.predictions import ids, ten_samples
from unlearning.data.datasets import Dataset
from unlearning.metrics.base import Evidence
from unlearning.records import boundary_figure as figure
from unlearning.records.boundary_figure import boundary_figure, search


class Half(nn.Module):
    """Class 0 where the mean of the pixels is below .5, and class 1 above; class 2 nowhere."""

    def __init__(self, bound: float = 0.5) -> None:
        super().__init__()
        self.bound = nn.Parameter(torch.tensor(bound))

    def forward(self, inputs: Tensor) -> Tensor:
        score = inputs.flatten(1).mean(1) - self.bound  # the inputs are the pixels: mean 0, deviation 1
        return torch.stack([-score, score, torch.full_like(score, -9.0)], 1)


def images(*levels: int) -> Dataset:
    """Grey images of 2 x 2 pixels of the same level, the first six of them training samples."""
    inputs = torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 2, 2, 1).contiguous()
    row, nothing = ten_samples(), ids()
    return Dataset("made", inputs, row.labels, row.classes, row.split.train, nothing, row.split.test, (0.0,), (1.0,))


def evidence(data: Dataset, model: nn.Module) -> Evidence:
    return replace(ten_samples(), images=lambda i: data.inputs[i].permute(0, 3, 1, 2) / 255, model=model)


LEVELS = 0, 51, 102, 153, 204, 178, 255, 76, 115, 140  # the forget set is 2 and 5, and unseen of its kind is 9


def test_distances_are_those_to_the_point_where_the_class_changes() -> None:
    data = images(*LEVELS)
    found = search(evidence(data, Half()), ids(2, 5), figure.Box(*data.bounds), batch=1)
    np.testing.assert_allclose(found.found.largest, [0.1, 178 / 255 - 0.5], atol=1e-3)
    np.testing.assert_allclose(found.found.euclidean, [0.2, 2 * (178 / 255 - 0.5)], atol=2e-3)  # of four pixels
    assert (found.before.tolist(), found.after.tolist()) == ([0, 1], [1, 0])


def test_curves_rise_where_classes_change_and_end_below_one_where_some_do_not() -> None:
    data = images(*LEVELS)
    rows = {"original": evidence(data, Half()), "unlearned": evidence(data, Half(0.95))}
    drawn = boundary_figure(rows, data)
    assert drawn is not None
    largest, euclidean, *cells = drawn.axes
    original, _, unlearned, _ = largest.lines
    np.testing.assert_allclose(original.get_xdata()[1:3], [0.1, 178 / 255 - 0.5], atol=1e-3)
    assert original.get_ydata().tolist() == [0, 0.5, 1, 1]
    np.testing.assert_allclose(euclidean.lines[0].get_xdata()[1:3], 2 * original.get_xdata()[1:3], atol=1e-6)
    np.testing.assert_allclose(unlearned.get_xdata()[1:2], [0.95 - 178 / 255], atol=1e-3)
    assert unlearned.get_ydata().tolist() == [0, 0.5, 0.5]  # the other one is .55 away
    titles = [axes.get_title() for axes in cells if axes.images]
    assert titles == ["ship", "ship", "cat\n> dog, 0.1", "dog\n> cat, 0.2", "cat\nnot left", "cat\n> dog, 0.25"]
    labels = [text.get_text() for text in drawn.subfigs[0].legends[0].get_texts()]
    assert labels == ["original, forget (2)", "original, unseen (1)", "unlearned, forget (2)", "unlearned, unseen (1)"]


def test_of_large_images_few_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    monkeypatch.setattr(figure, "VALUES", 8)
    monkeypatch.setattr(figure, "LEAST", 1)
    monkeypatch.setattr(
        figure, "search", lambda row, ids, box, batch: counted.append((len(ids), batch)) or search(row, ids, box, batch)
    )
    data = images(*LEVELS)
    boundary_figure({"unlearned": evidence(data, Half())}, data)
    assert counted == [(2, 2), (1, 2)]


def test_features_have_curves_alone_and_without_a_model_there_is_nothing() -> None:
    row, nothing = ten_samples(), ids()
    inputs = torch.linspace(0, 1, 10)[:, None].repeat(1, 3)
    table = Dataset("made", inputs, row.labels, row.classes, row.split.train, nothing, row.split.test)
    made = replace(row, images=lambda i: inputs[i], model=Half(0.3))
    drawn = boundary_figure({"unlearned": made}, table)
    assert drawn is not None
    assert [axes.get_xlabel() for axes in drawn.axes] == ["in ranges of the features"] * 2
    np.testing.assert_allclose(drawn.axes[0].lines[0].get_xdata()[1], (0.3 - 2 / 9) / (5 / 9), atol=1e-3)
    assert boundary_figure({"unlearned": row}, table) is None
    assert boundary_figure({"unlearned": made.of(made.logits * torch.nan, made.model)}, table) is None
