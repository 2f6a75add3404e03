"""The figures of a run: what was forgotten, what it cost, and whether the forgetting shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ..metrics.accuracy import Accuracy, ClassAccuracy
from ..metrics.base import Evidence, evaluate
from ..metrics.membership import auc, member_score, non_members
from .drawing import COLOURS, shortened

MARKERS = {"original": "s", "retrained": "o", "clean": "^", "unlearned": "D"}
SETS = ("forget", "retain", "test")
NOISE = "noise/entropy_"
NAMED_CLASSES = 20  # where there are more, only forgotten ones are named
MENTIONED = 9  # of these
LETTERS = 60  # in the names of classes beside each other; where there are more, they are turned

Values = dict[str, dict[str, float]]  # numbers of each model


def summary_figure(rows: Mapping[str, Evidence]) -> Figure:
    """Accuracy by set, test accuracy by class, and the margins of the forget set beside those of unseen samples.

    ``rows`` holds the evidence about any of ``original``, ``retrained``, ``clean`` and ``unlearned``. Numbers that do
    not exist (an empty set, logits that are not finite) leave a gap. No window is opened; ``figure.savefig(path)``
    writes the figure.
    """
    rows = {name: rows[name] for name in COLOURS if name in rows}
    first = next(iter(rows.values()))
    metrics = {"sets": Accuracy(), "classes": ClassAccuracy()}
    values = {name: evaluate(metrics, row)[0] for name, row in rows.items()}
    attacked = [name for name in rows if name not in ("original", "clean")] or list(rows)

    figure = Figure(figsize=(15, 4.8), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplot_mosaic([["sets", "classes", name] for name in attacked], width_ratios=(4, 6.5, 4.5))
    draw_sets(axes["sets"], values)
    draw_classes(axes["classes"], values, first.classes, {first.classes[c] for c in first.split.forget_classes})
    draw_margins({name: axes[name] for name in attacked}, rows)
    figure.legend(*axes["sets"].get_legend_handles_labels(), loc="outside upper center", ncols=len(rows), frameon=False)
    for panel in figure.axes:
        panel.spines[["top", "right"]].set_visible(False)
        panel.title.set_fontsize(11)
    return figure


def noise_figure(values: Mapping[str, Mapping[str, float]]) -> Figure | None:
    """The entropy of each model's predictions against noise on the forget set; None if it was not measured.

    ``values`` holds the numbers of ``noise_curve`` by model.
    """
    curves = {
        name: sorted((float(key.removeprefix(NOISE)), v) for key, v in values[name].items() if key.startswith(NOISE))
        for name in COLOURS
        if name in values
    }
    if not any(curves.values()):
        return None
    figure = Figure(figsize=(6, 4.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for name, points in curves.items():
        axes.plot(*np.array(points).reshape(-1, 2).T, MARKERS[name] + "-", color=COLOURS[name], label=name)
    axes.set(title="Forget set under noise", xlabel="sigma, in normalised pixels", ylabel="mean entropy (nats)")
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color="#e5e5e5")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def draw_sets(axes: Axes, values: Values) -> None:
    """Grouped bars with their numbers: accuracy on the forget set, the retain set and test."""
    width, many = 0.86 / len(values), len(values) > 3  # the numbers of more models would run together: they are turned
    for place, (name, found) in enumerate(values.items()):
        heights = [found.get(f"{s}/acc", np.nan) for s in SETS]
        x = np.arange(len(SETS)) + (place - (len(values) - 1) / 2) * width
        bars = axes.bar(x, heights, 0.94 * width, color=COLOURS[name], label=name)
        numbers = ["" if np.isnan(height) else rate(height) for height in heights]
        axes.bar_label(bars, numbers, padding=2, fontsize=8, rotation=90 * many)
    axes.set(title="Accuracy (%)", xlim=(-0.6, len(SETS) - 0.4))
    axes.set_xticks(range(len(SETS)), SETS)
    draw_rates(axes)
    if many:
        axes.set_ylim(0, 1.15)


def draw_classes(axes: Axes, values: Values, classes: tuple[str, ...], forgotten: set[str]) -> None:
    """Test accuracy as one marker per model and class; many classes are sorted by the first model's accuracy."""
    accuracy = {
        name: np.array([found.get(f"class_acc/{c}", np.nan) for c in classes]) for name, found in values.items()
    }
    many = len(classes) > NAMED_CLASSES
    first = next(iter(accuracy.values()))
    order = np.argsort(-first, kind="stable") if many else np.arange(len(classes))
    for place, (name, heights) in enumerate(accuracy.items()):
        shift = 0 if many else 0.2 * (place - (len(values) - 1) / 2)
        size = 4 + 2 * (len(values) - 1 - place) if many else 7  # so that of equal ones each is seen
        style: dict[str, Any] = {"color": COLOURS[name], "ms": size, "alpha": 0.85, "mew": 0}
        axes.plot(np.arange(len(order)) + shift, heights[order], MARKERS[name], clip_on=False, **style)
    shaded = [x for x, number in enumerate(order) if classes[number] in forgotten]
    for x in shaded:
        axes.axvspan(x - 0.5, x + 0.5, color="#f0e442", alpha=0.5, lw=0)
    if many:
        axes.set_xticks([])
        axes.set_xlabel(listed([classes[order[x]] for x in shaded]))
    else:
        names = [shortened(name, 22) for name in classes]
        long = len(names) * max(map(len, names)) > LETTERS
        turned: dict[str, Any] = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if long else {}
        axes.set_xticks(range(len(names)), names, **turned)
        for x in shaded:
            axes.get_xticklabels()[x].set_fontweight("bold")
    title = f"Test accuracy (%) of {len(order)} classes, best first" if many else "Test accuracy (%) by class"
    axes.set(title=title + "; forgotten shaded" * bool(forgotten), xlim=(-0.6, len(order) - 0.4))
    draw_rates(axes)


def listed(names: Sequence[str]) -> str:
    """The names of forgotten classes, from left to right; of many, the first ones."""
    if not names:
        return ""
    more = f", and {len(names) - MENTIONED} more" if len(names) > MENTIONED else ""
    return fill(f"Forgotten: {', '.join(shortened(name, 22) for name in names[:MENTIONED])}{more}", 80)


def rate(value: float) -> str:
    """A fraction in percent, short enough to stand beside another one."""
    text = f"{100 * value:.1f}"
    return "100" if text == "100.0" else text


def draw_rates(axes: Axes) -> None:
    """A vertical axis from 0 to 100 with light lines."""
    axes.set_ylim(0, 1.06)
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    axes.grid(axis="y", color="#e5e5e5")
    axes.set_axisbelow(True)


def draw_margins(panels: Mapping[str, Axes], rows: Mapping[str, Evidence]) -> None:
    """A histogram of margins for each model: the forget set filled, unseen samples of the same kind as a line."""
    margins = {}
    for name in panels:
        row, ids = rows[name], (rows[name].split.forget, non_members(rows[name].split))
        margins[name] = [v[v.isfinite()] for v in (member_score("margin", row.logits[i], row.labels[i]) for i in ids)]
    pooled = torch.cat([v for pair in margins.values() for v in pair])
    low, high = np.percentile(pooled, (0.2, 99.8)) if len(pooled) else (0, 0)
    low, high = min(low, 0) - 0.5, max(high, 0) + 0.5
    smallest = min((len(v) for pair in margins.values() for v in pair if len(v)), default=1)
    bins = np.linspace(low, high, int(np.clip(2 * np.sqrt(smallest), 10, 40)) + 1).tolist()
    for name, axes in panels.items():
        forget, unseen = margins[name]
        note = f"{name}: nothing to compare"
        if len(forget) and len(unseen):
            note = f"{name}\nAUC {auc(forget, unseen):.2f}"
            axes.hist(forget.clamp(low, high).numpy(), bins, density=True, color=COLOURS[name], alpha=0.55)
            axes.hist(unseen.clamp(low, high).numpy(), bins, density=True, histtype="step", color="black", lw=1.2)
        axes.text(0.01, 0.97, note, transform=axes.transAxes, va="top", color=COLOURS[name], fontweight="bold")
        axes.axvline(0, color="#8c8c8c", lw=0.8, ls=":")
        axes.set(xlim=(low, high), ylim=(0, 1.45 * axes.get_ylim()[1]), yticks=[])
        axes.spines["left"].set_visible(False)
    stack = list(panels.values())
    stack[0].set_title("Margins: forget set filled, unseen samples as a line")
    stack[-1].set_xlabel("ln p(label) - ln(1 - p(label)); right of 0: classified correctly")
