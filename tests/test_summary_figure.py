"""The figures of a run, by the numbers that they show."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cbook import is_math_text
from matplotlib.figure import Figure

from tests.predictions import synthetic
from unlearning.metrics.accuracy import Accuracy
from unlearning.metrics.membership import MembershipInference
from unlearning.records.drawing import canvas, shortened
from unlearning.records.epochs_figure import epochs_figure
from unlearning.records.summary_figure import draw_sets, listed, noise_figure, rate, summary_figure


def test_figure_shows_the_numbers_and_marks_the_forgotten_class(tmp_path):
    original, retrained = synthetic(False), synthetic(True)
    figure = summary_figure({"unlearned": retrained, "original": original, "retrained": retrained})
    sets, classes, *margins = figure.axes
    assert [bar.get_label() for bar in sets.containers] == ["original", "retrained", "unlearned"]
    heights = [bar.get_height() for bar in sets.containers[1]]
    accuracy = Accuracy()(retrained)
    assert heights == [accuracy["forget/acc"], accuracy["retain/acc"], accuracy["test/acc"]]
    assert [t.get_text() for t in classes.get_xticklabels() if t.get_fontweight() == "bold"] == ["a"]
    found = MembershipInference()(retrained)["mia/loss_auc"]
    assert [panel.texts[0].get_text() for panel in margins] == [
        f"retrained\nAUC {found:.2f}",
        f"unlearned\nAUC {found:.2f}",
    ]
    figure.savefig(tmp_path / "summary.png", dpi=30)
    assert (tmp_path / "summary.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("models", [3, 4])
def test_numbers_above_bars_do_not_run_together(models: int) -> None:
    names = ("original", "retrained", "clean", "unlearned")[:models]
    figure = Figure(figsize=(15, 4.8), dpi=110, layout="constrained")
    axes = FigureCanvasAgg(figure).figure.subplot_mosaic([["sets", "others"]], width_ratios=(4, 11))["sets"]
    draw_sets(axes, {name: {f"{s}/acc": 0.9994 for s in ("forget", "retain", "test")} for name in names})
    figure.draw_without_rendering()
    boxes = sorted((text.get_window_extent() for text in axes.texts), key=lambda box: box.x0)
    assert min(right.x0 - left.x1 for left, right in pairwise(boxes)) > 8  # pixels: a digit has 7
    assert max(box.y1 for box in boxes) < axes.get_window_extent().y1


@pytest.mark.filterwarnings("error")
def test_figure_leaves_a_gap_for_a_collapsed_model_and_stands_a_single_row():
    evidence = synthetic(False)
    collapsed = summary_figure({"original": evidence, "unlearned": evidence.of(evidence.logits * torch.nan)})
    assert [bar.get_height() for bar in collapsed.axes[0].containers[1]] == pytest.approx([math.nan] * 3, nan_ok=True)
    assert collapsed.axes[-1].texts[0].get_text() == "unlearned: nothing to compare"
    constant = summary_figure({"unlearned": evidence.of(torch.zeros_like(evidence.logits))})
    assert constant.axes[-1].texts[0].get_text() == "unlearned\nAUC 0.50"


def test_the_curve_of_noise_is_drawn_only_where_it_was_measured() -> None:
    assert noise_figure({"original": {"forget/acc": 1.0}}) is None
    rows = {"original": {"noise/entropy_10": 0.5, "noise/entropy_0": 0.1, "noise/entropy_2": 0.2}, "unlearned": {}}
    first, second = noise_figure(rows).axes[0].lines
    assert first.get_xydata().tolist() == [[0, 0.1], [2, 0.2], [10, 0.5]]
    assert len(second.get_xydata()) == 0  # it failed for this model


def test_accuracy_by_epoch_is_drawn_beside_the_other_models_where_a_method_follows_it() -> None:
    curves = {"unlearn/forget_acc": [(0, 0.5), (1, 0.25)], "unlearn/retain_acc": [(0, 0.75), (1, 1.0)]}
    rows = {"original": {"forget/acc": 1.0, "retain/acc": 0.9}, "retrained": {"forget/acc": 0.1}, "unlearned": {}}
    forget, retain = epochs_figure(curves, rows).axes
    assert [line.get_label() for line in forget.lines] == ["original", "retrained", "unlearned"]
    assert [line.get_label() for line in retain.lines] == ["original", "unlearned"]
    assert forget.lines[1].get_ydata() == [0.1, 0.1]
    assert forget.lines[2].get_xydata().tolist() == [[0, 0.5], [1, 0.25]]
    assert [text.get_text() for text in retain.texts] == ["75.0", "100"]
    assert retain.get_xlim() == pytest.approx((-0.09, 1.09))  # so that the numbers at its ends do not meet the axis
    assert epochs_figure({"unlearn/forget_loss": [(0, 1.0)]}, rows) is None


def test_numbers_stand_below_the_valleys_of_a_curve_that_have_room() -> None:
    points = [(0, 0.2), (2, 0.9), (4, 0.5), (6, 0.6), (8, 0.05), (10, 0.7)]
    (axes,) = epochs_figure({"unlearn/forget_acc": points}, {}).axes
    below = [text.get_text() for text in axes.texts if text.get_va() == "top" and text.xyann[1] < 0]
    assert below == ["50.0"]  # not the ends, and not 5.0 at the foot of the axes
    assert [text.xyann[1] > 0 for text in axes.texts] == [True, True, False, True, True, True]


@pytest.mark.parametrize("name", ["$x$", "$\\frac$", "a$", "_x"])
def test_a_class_is_called_in_figures_what_it_is_called(name: str) -> None:
    figure, ((axes,),) = canvas(1, 1, 2, 2)
    axes.plot([0, 1], label=shortened(name))
    drawn = axes.legend().get_texts()
    figure.canvas.draw()  # as mathematics it could not be
    assert [text.get_text().replace("\\$", "$").strip("\N{ZERO WIDTH SPACE}") for text in drawn] == [name]
    assert not is_math_text(drawn[0].get_text())


def test_names_and_numbers_that_stand_beside_each_other_are_short() -> None:
    assert [shortened(name) for name in ("elephant", "african elephant")] == ["elephant", "africa\u2026hant"]
    assert [len(shortened("x" * 40, letters)) for letters in (11, 22)] == [11, 22]
    assert [rate(value) for value in (0.0, 0.25, 0.9994, 0.99961, 1.0)] == ["0.0", "25.0", "99.9", "100", "100"]
    assert listed(()) == ""
    assert listed(["cat", "dog"]) == "Forgotten: cat, dog"
    assert " ".join(listed([f"c{i}" for i in range(12)]).split()).endswith("c8, and 3 more")


def test_of_many_classes_those_that_are_forgotten_are_named_below() -> None:
    evidence = synthetic(False, classes=8)
    many = replace(evidence, classes=tuple(f"class {i}" for i in range(30)))
    _, classes, *_ = summary_figure({"unlearned": many}).axes
    assert classes.get_xlabel() == "Forgotten: class 0"
    assert len(classes.get_xticks()) == 0
