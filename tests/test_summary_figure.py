"""The figures of a run, by the numbers that they show."""

import math

import pytest
import torch

from tests.predictions import synthetic
from unlearning.metrics.accuracy import Accuracy
from unlearning.metrics.membership import MembershipInference
from unlearning.records.summary_figure import noise_figure, summary_figure


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
