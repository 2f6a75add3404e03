"""Accuracy by epoch of a method that follows it, beside what the original and the retrained model have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from .drawing import COLOURS
from .summary_figure import draw_rates, rate

SETS = {"forget": "forget", "retain": "retain", "val": "validation"}
HALO = [withStroke(linewidth=3, foreground="white")]  # so that numbers are legible on lines
NUMBERED = 12  # epochs; where there are more, their points have no numbers

Curve = Sequence[tuple[int, float]]


def in_valley(heights: Sequence[float], index: int) -> bool:
    """Whether the curve falls to a point and rises from it, so that a number has more room below it than above.

    A point at the foot of the axes has no room below.
    """
    beside = [*heights[max(0, index - 1) : index], *heights[index + 1 : index + 2]]
    return heights[index] > 0.1 and len(beside) == 2 and heights[index] < min(beside)


def epochs_figure(curves: Mapping[str, Curve], values: Mapping[str, Mapping[str, float]]) -> Figure | None:
    """Accuracy on the forget, retain and validation set by epoch, as far as ``evaluation.every`` measured it, or None.

    Lines at the height of the original and the retrained model show where it comes from and where it should end.

    Args:
        curves: (epoch, value) by name, from epoch 0, before the training.
        values: the numbers of each model.
    """
    found = {name: points for name in SETS if (points := curves.get(f"unlearn/{name}_acc"))}
    if not found:
        return None
    figure = Figure(figsize=(4.7 * len(found), 4.0), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, points) in zip(figure.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True):
        for model in ("original", "retrained"):
            if (height := values.get(model, {}).get(f"{name}/acc")) is not None:
                axes.axhline(height, color=COLOURS[model], alpha=0.5, lw=4, clip_on=False, label=model)
        axes.plot(*np.array(points).T, "D-", color=COLOURS["unlearned"], clip_on=False, label="unlearned")
        heights = [height for _, height in points]
        for index, place in enumerate(points if len(points) <= NUMBERED else ()):
            below = in_valley(heights, index)
            axes.annotate(
                rate(place[1]),
                place,
                (0, -7 if below else 7),
                textcoords="offset points",
                ha="center",
                va="top" if below else "baseline",
                fontsize=8.5,
                path_effects=HALO,
            )
        axes.set(title=f"Accuracy on the {SETS[name]} set (%)", xlabel="epoch")
        axes.margins(x=0.09)  # room for the first and the last number
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        draw_rates(axes)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    return figure
