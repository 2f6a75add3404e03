"""Accuracy against what probes find, and the ranks that each judge gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from experiments.drawing import canvas
from experiments.judge.judging import JUDGES, Setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOOLS, PASSES, OTHERS = "#c44e52", "#4c72b0", "#9a9a9a"
SMALLEST = 5e-4  # costs below it are drawn at it
MOST = 20  # names in a panel; where more pass, only those that fool the output are named
LETTER, LINE = 4.6, 9.5  # width and height of a label's letter, in pixels
AWAY = [(side, 3 + step * LINE / 2) for step in (0, -2, 2, -4, 4, -6, 6, -8, 8) for side in ("left", "right")]


def distances(settings: Sequence[Setting]) -> Figure:
    """A panel for each setting: the mean cost by accuracy against that by probes.

    Lines are the noise floor, within which a second retrained model lies. Methods that pass the output are named, in
    red if a judge inside fails them. The diamond is the control that changes the head alone.
    """
    columns = min(2, len(settings))
    rows = math.ceil(len(settings) / columns)
    figure, panels = canvas(rows, columns, width=5.6, height=4.6)
    places = [panel for row in panels for panel in row]
    for panel in places[len(settings) :]:
        panel.set_visible(False)
    for panel, there in zip(places, settings, strict=False):
        named = {}
        for method in (*there.ranked, "head_only"):
            x, y = (there.mean(judge, method) for judge in ("accuracy", "probes"))
            if math.isnan(x) or math.isnan(y):
                continue
            passes, fails = there.passes(method), there.fails(method)
            colour = OTHERS if not passes else FOOLS if fails else PASSES
            panel.plot(max(x, SMALLEST), y, "o" if method in there.ranked else "D", color=colour, ms=5, zorder=3)
            if passes:
                named[method] = (max(x, SMALLEST), y, colour)
        edges(panel, there)
        fools = {method: place for method, place in named.items() if place[2] == FOOLS}
        label(panel, named if len(named) <= MOST else fools)
    return figure


def label(panel: Axes, named: dict[str, tuple[float, float, str]]) -> None:
    """Write names beside their points, each where it covers none that is there already."""
    taken: list[tuple[float, float, float]] = []
    for name, (x, y, colour) in sorted(named.items(), key=lambda item: item[1][1]):
        across, up = panel.transData.transform((x, y))
        width = LETTER * len(name)
        spots = [(side, away, across + 5 if side == "left" else across - 5 - width) for side, away in AWAY]
        free = [
            (side, away, left)
            for side, away, left in spots
            if all(abs(up + away - y) >= LINE or left + width < a or b < left for a, b, y in taken)
        ]
        side, away, left = (free or spots)[0]
        taken.append((left, left + width, up + away))
        place = (5 if side == "left" else -5, (away - 3) * 0.8 - 3)
        panel.annotate(name, (x, y), place, textcoords="offset points", ha=side, fontsize=7, color=colour)


def edges(panel: Axes, there: Setting) -> None:
    """Title, scales and the noise floors of a panel."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for judge, line in (("accuracy", panel.axvline), ("probes", panel.axhline)):
        if not math.isnan(limit := there.limit(judge)):
            line(limit, color="black", lw=0.8, ls="--", zorder=2)
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set(title=there.name, xlabel="distance in accuracy", ylabel="distance by probes of the features")
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
