"""Heat maps: how a metric depends on any two settings of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .runs import Run, override, text_of
from .selection import known_key

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DARK = 0.45  # of a colour's lightness: below it, numbers are white
NUMBERED = 64  # cells; where a map has more, they have no numbers
COLUMNS = 4  # maps beside each other


def heat_map(runs: Sequence[Run], keys: Sequence[str], metrics: Sequence[str]) -> Figure:
    """A map for each metric and for each setting of all else: the mean over seeds of the unlearned model's value.

    Args:
        runs: finished ones.
        keys: two keys of the configuration: of the horizontal and of the vertical axis.
        metrics: those of which a run has a value.

    Cells without a run stay empty; nothing is interpolated. Raises ``UserError`` unless there are two keys that runs
    have, each with several values, and a value to draw.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if len(keys) != 2 or keys[0] == keys[1]:
        raise UserError(f"--heat {','.join(keys)}: name two keys, such as --heat method.alpha,method.lam", key="--heat")
    for key in keys:
        if len({text_of(run.lookup(known_key(runs, key))) for run in runs}) < 2:
            raise UserError(
                f"--heat: {key} has one value in all of these runs: name a key that they sweep", key="--heat"
            )
    maps = {metric: found for metric in metrics if (found := groups(runs, keys, metric))}
    if not maps:
        raise UserError("--heat: no run has a value of these metrics and keys", key="--heat")
    lines = arranged(maps)
    columns = max(map(len, lines))
    figure = Figure(figsize=(4.6 * columns, 3.9 * len(lines)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for row, line in zip(figure.subplots(len(lines), columns, squeeze=False), lines, strict=True):
        for axes in row[len(line) :]:
            axes.set_axis_off()
        for axes, (metric, title) in zip(row, line, strict=False):
            values = [value for cells in maps[metric].values() for value in cells.values()]
            draw(axes, maps[metric][title], keys, (min(values), max(values)))  # the same in all maps of a metric
            axes.set_title("\n".join(part for part in (metric, title) if part), fontsize=10)
    return figure


def arranged(maps: Mapping[str, Mapping[str, Any]]) -> list[list[tuple[str, str]]]:
    """(metric, title) of the maps by line: each metric has lines of its own where it has several maps."""
    if all(len(found) == 1 for found in maps.values()):
        parts = [[(metric, title) for metric, found in maps.items() for title in found]]
    else:
        parts = [[(metric, title) for title in found] for metric, found in maps.items()]
    return [part[start : start + COLUMNS] for part in parts for start in range(0, len(part), COLUMNS)]


Cells = dict[tuple[Any, Any], float]


def groups(runs: Sequence[Run], keys: Sequence[str], metric: str) -> dict[str, Cells]:
    """The mean of a metric by the values of both keys, for each setting of all else that decides a result.

    The title of a setting has the method, where there are several, and what else differs.
    """
    found: dict[tuple[tuple[str, str], ...], dict[tuple[Any, Any], list[float]]] = {}
    for run in runs:
        value, place = run.values["unlearned"].get(metric), (run.lookup(keys[0]), run.lookup(keys[1]))
        if value is None or None in place:
            continue
        rest = {key: text_of(v) for key, v in run.decisive.items() if key not in keys}
        rest |= {group: choice for group, choice in run.choices.items() if group not in keys and choice}
        found.setdefault(tuple(sorted(rest.items())), {}).setdefault(place, []).append(value)
    shared = set.intersection(*map(set, found)) if found else set()
    titles = {}
    for settings, cells in found.items():
        own = [item for item in settings if item not in shared and not item[0].endswith("_target_")]
        words = [override(key, value) for key, value in own]
        titles["\n".join(words)] = {place: fmean(values) for place, values in cells.items()}
    return titles


def draw(axes: Axes, cells: Cells, keys: Sequence[str], ends: tuple[float, float]) -> None:
    """Draw one map, whose colours go from one end to the other, with the number in each cell where there are few."""
    import numpy as np

    across, up = (sorted({place[axis] for place in cells}, key=order) for axis in range(2))
    values = np.full((len(up), len(across)), np.nan)
    for (x, y), value in cells.items():
        values[up.index(y), across.index(x)] = value
    image = axes.imshow(values, origin="lower", aspect="auto", cmap="viridis", vmin=ends[0], vmax=ends[1])
    turned: dict[str, Any] = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if len(across) > 6 else {}
    turned = {"rotation": 90} if len(across) > 10 else turned
    axes.set_xticks(range(len(across)), list(map(text_of, across)), **turned)
    axes.set_yticks(range(len(up)), list(map(text_of, up)))
    axes.set(xlabel=keys[0], ylabel=keys[1])
    axes.figure.colorbar(image, ax=axes)
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value) and values.size <= NUMBERED:
            red, green, blue, _ = image.cmap(image.norm(value))
            light = 0.299 * red + 0.587 * green + 0.114 * blue
            axes.text(column, row, f"{value:.3g}", ha="center", va="center", color="white" if light < DARK else "black")


def order(value: Any) -> tuple[bool, Any]:
    """Numbers in their order, before words in theirs."""
    return (not isinstance(value, float), value if isinstance(value, float) else text_of(value))
