"""What the figures of a run share: the models' colours, names of classes, and panels that open no window."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLOURS = {  # distinguishable for colour-blind readers
    "original": "#8c8c8c",
    "retrained": "#0072b2",
    "clean": "#009e73",
    "unlearned": "#d55e00",
}


def canvas(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[list[Axes]]]:
    """A figure and its panels by row; ``width`` and ``height`` of a panel are in inches."""
    figure = Figure(figsize=(width * columns, height * rows + 0.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False).tolist()


def shortened(name: str, letters: int = 11) -> str:
    """A class's name as figures show it: without its middle where it is longer, as names of many classes begin alike.

    Matplotlib takes what is between dollar signs for mathematics, and leaves what begins with _ out of legends.
    """
    if len(name) > letters:
        end = (letters - 1) * 2 // 5
        name = f"{name[: letters - 1 - end]}\N{HORIZONTAL ELLIPSIS}{name[len(name) - end :]}"
    escaped = name.replace("$", r"\$")
    return f"\N{ZERO WIDTH SPACE}{escaped}" if name.startswith("_") else escaped
