"""Figures of the studies: colours, and grids of panels that open no window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def palette(names: Sequence[str]) -> dict[str, Any]:
    """A colour for each name, none of them grey."""
    from matplotlib import color_sequences

    colours = [c for c in color_sequences["tab10" if len(names) < 10 else "tab20"] if len(set(c)) > 1]
    return {name: colours[number % len(colours)] for number, name in enumerate(names)}


LEGEND = 0.6  # inches that a figure has for it from the start


def canvas(rows: int, columns: int, width: float = 4.4, height: float = 3.4) -> tuple[Figure, list[list[Axes]]]:
    """A figure and its panels by row; ``width`` and ``height`` of a panel are in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows + LEGEND), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False).tolist()


def legend_below(figure: Figure, columns: int) -> None:
    """One legend for all panels, with each name once, in so many columns or as many as fit.

    The figure becomes higher where the legend needs it.
    """
    handles = {str(h.get_label()): h for axes in figure.axes for h in axes.get_legend_handles_labels()[0]}
    for count in range(columns, 0, -1):
        legend = figure.legend([*handles.values()], [*handles], loc="outside lower center", ncols=count, frameon=False)
        extent = legend.get_window_extent()
        if count == 1 or extent.width <= figure.bbox.width:
            figure.set_figheight(figure.get_figheight() + max(0, extent.height / figure.dpi - LEGEND))
            return
        legend.remove()
