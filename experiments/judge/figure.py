"""Distances at the output against distances inside the model, and the ranks that each judge gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from experiments.drawing import canvas
from experiments.judge.judging import JUDGES, OUTPUT, Setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DRAWN = ("probes", "CKA")  # of the judges inside, the two that look at features
FOOLS, PASSES, OTHERS = "#c44e52", "#4c72b0", "#9a9a9a"
SMALLEST = 1e-3  # distances below it are drawn at it


def distances(settings: Sequence[Setting]) -> Figure:
    """A panel for each setting: the mean cost by accuracy and membership against that by probes and CKA.

    Lines are the limits, within which a second retrained model lies. Methods that pass the output are named, and in red
    if a judge inside fails them.
    """
    columns = min(2, len(settings))
    rows = math.ceil(len(settings) / columns)
    figure, panels = canvas(rows, columns, width=5.2, height=4.2)
    places = [panel for row in panels for panel in row]
    for panel in places[len(settings) :]:
        panel.set_visible(False)
    for panel, there in zip(places, settings, strict=False):
        for method in (*there.ranked, "head_only"):
            x, y = (mean_over(there, judges, method) for judges in (OUTPUT, DRAWN))
            if math.isnan(x) or math.isnan(y):
                continue
            passes, fails = there.passes(method), there.fails(method)
            colour = OTHERS if not passes else FOOLS if fails else PASSES
            panel.plot(max(x, SMALLEST), y, "o" if method in there.ranked else "D", color=colour, ms=5, zorder=3)
            if passes:
                panel.annotate(
                    method, (max(x, SMALLEST), y), (4, 3), textcoords="offset points", fontsize=7, color=colour
                )
        edges(panel, there)
    return figure


def mean_over(there: Setting, judges: Sequence[str], method: str) -> float:
    """The mean over judges of a method's mean cost; NaN where one is missing."""
    found = [there.mean(judge, method) for judge in judges if judge in there.costs]
    return fmean(found) if found else math.nan


def edges(panel: Axes, there: Setting) -> None:
    """Title, scales and the limits of a panel."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for judges, line in ((OUTPUT, panel.axvline), (DRAWN, panel.axhline)):
        limits = [there.limit(judge) for judge in judges if judge in there.costs]
        if limits and not math.isnan(limit := fmean(limits)):
            line(limit, color="black", lw=0.8, ls="--", zorder=1)
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set(title=there.name, xlabel="distance at the output", ylabel="distance in the features")
    panel.grid(color="#eeeeee")
    panel.spines[["top", "right"]].set_visible(False)


def ranks(settings: Sequence[Setting]) -> Figure:
    """A row for each method and a column for each judge: mean ranks over settings, the best by accuracy first."""
    judges = [judge for judge in JUDGES if any(judge in there.costs for there in settings)]
    methods = sorted({method for there in settings for method in there.ranked})
    table = np.array([[mean_rank(settings, judge, method) for judge in judges] for method in methods])
    order = np.argsort(np.where(np.isnan(table[:, 0]), np.inf, table[:, 0]), kind="stable")
    figure, ((axes,),) = canvas(1, 1, width=7.2, height=0.8 + 0.235 * len(methods))
    axes.imshow(table[order], cmap="viridis_r", aspect="auto")
    axes.set_xticks(range(len(judges)), judges, rotation=30, ha="right")
    axes.set_yticks(range(len(methods)), [methods[place] for place in order], fontsize=8)
    middle = np.nanmean(table)
    for row, place in enumerate(order):
        for column, value in enumerate(table[place]):
            if not math.isnan(value):
                colour = "white" if value > middle else "black"
                axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color=colour)
    axes.set_title("mean rank by judge (1 is best)", fontsize=10)
    return figure


def mean_rank(settings: Sequence[Setting], judge: str, method: str) -> float:
    """The mean rank of a method over the settings in which the judge ranks it; NaN without any."""
    found = [own[method] for there in settings if judge in there.costs if method in (own := there.ranks(judge))]
    return fmean(found) if found else math.nan
