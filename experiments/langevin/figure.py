"""What gamma, lambda and the BatchNorm policy leave of both sets, and the course of compositions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from experiments.drawing import canvas, legend_below, palette
from unlearning.report.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORGET, RETAIN = "test_forget/acc", "test_retain/acc"
GAMMA, NORM = "method.attack.gamma", "method.batch_norm"
BATCH = 64  # the published gammas and lambdas are of the gradient of a mean over as many samples
MARKERS = {"train": "o", "eval": "s", "frozen": "^"}
COURSES = {"forget": "#c44e52", "retain": "#4c72b0"}


def draw(runs: Mapping[str, Mapping[str, Sequence[Run]]]) -> Figure:
    """Two panels for each data set: means over seeds of every cell of the grid, and accuracies by epoch.

    Args:
        runs: by data set and part of the study.
    """
    figure, panels = canvas(2, len(runs))
    gammas = sorted({run.config[GAMMA] for parts in runs.values() for run in parts["grid"]})
    colours = palette([str(gamma) for gamma in gammas])
    for column, (data, parts) in enumerate(runs.items()):
        axes, below = panels[0][column], panels[1][column]
        cells: dict[tuple[float, float, str], list[Run]] = defaultdict(list)
        for run in parts["grid"]:
            cells[run.config[GAMMA], run.config["method.attack.lam"], run.config[NORM]].append(run)
        for (gamma, _, policy), found in sorted(cells.items()):
            x, y = (fmean(run.values["unlearned"][metric] for run in found) for metric in (RETAIN, FORGET))
            label = f"gamma {gamma / BATCH:g}, {policy}"
            axes.plot(x, y, MARKERS[policy], color=colours[str(gamma)], mfc="none", ms=6, label=label)
        for row, marker in (("original", "k*"), ("retrained", "kP")) if parts["grid"] else ():
            x, y = (fmean(run.values[row][metric] for run in parts["grid"]) for metric in (RETAIN, FORGET))
            axes.plot(x, y, marker, ms=9, label=row)
        axes.set(title=data, xlabel="retain accuracy, test", ylabel="forget accuracy, test")
        for name, colour in COURSES.items():
            for k, style in ((-1.0, "-"), (1.0, ":")):
                courses = [
                    [share for _, share in run.result["curves"][f"unlearn/{name}_acc"]]
                    for run in parts["composition"]
                    if run.config["method.k"] == k
                ]
                if courses:
                    what = "all trained" if k < 0 else "head trained"
                    mean = [fmean(values) for values in zip(*courses, strict=True)]
                    below.plot(mean, style, color=colour, marker=".", label=f"composed: {name}, {what}")
        below.set(xlabel="epochs of the composition", ylabel="accuracy", ylim=(-0.03, 1.03))
        for panel in (axes, below):
            panel.grid(color="#e5e5e5")
            panel.spines[["top", "right"]].set_visible(False)
    legend_below(figure, columns=5)
    return figure
