"""Figures over many runs of corrective scenarios: what a method makes of a known part, and of its two settings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = {  # metric: what the corrective literature calls it
    "corrective/acc_seen": "Acc_corr, seen",
    "corrective/acc_unseen": "Acc_corr, unseen",
    "corrective/acc_retain": "Acc_retain",
}
REFERENCE_STYLE = {  # black and grey: colours are the methods'
    "original": {"color": "#8c8c8c", "ls": ":"},
    "retrained": {"color": "black", "ls": "-"},
    "clean": {"color": "black", "ls": "--"},
}
MARKERS = "osD^vP*Xph<>"
EXAMPLES = 8  # images of each scenario

Points = Mapping[float, Sequence[float]]  # values over seeds at each place of the horizontal axis


def gamma_figure(runs: Sequence[Run]) -> Figure:
    """Accuracy against gamma, the known part of the manipulated samples: the figure of Goel et al. (2024).

    A row for each data set, model and scenario, a line for each method through the means over seeds, its band from the
    lowest to the highest seed. A model without a method, such as the original, depends on no gamma and is a level line;
    the retrained one depends on it.
    """
    settings = by_setting(runs)
    figure, panels = canvas(len(settings), len(SHOWN))
    methods = sorted({run.method for found in settings.values() for run in found} - {"original"})
    colours = palette(methods)
    for (setting, found), row in zip(settings.items(), panels, strict=True):
        for (metric, title), axes in zip(SHOWN.items(), row, strict=True):
            for name, style in REFERENCE_STYLE.items():
                points = levels(found, name, metric)
                if name != "retrained" and points:  # the same model whatever is known
                    level = fmean(value for values in points.values() for value in values)
                    points = {known_part(run): [level] for run in found}
                draw_line(axes, points, name, **style)
            for number, method in enumerate(methods):
                points = levels([run for run in found if run.method == method], "unlearned", metric)
                marker = MARKERS[number % len(MARKERS)]
                draw_line(axes, points, method, color=colours[method], marker=marker, ms=5)
            rates(axes, title if axes in panels[0] else "", "known part of the manipulated samples, gamma")
            if not axes.lines:
                axes.text(0.5, 0.5, "not defined", transform=axes.transAxes, ha="center", color="#8c8c8c")
        name_row(row[0], setting)
    handles = {h.get_label(): h for axes in figure.axes for h in axes.get_legend_handles_labels()[0]}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=6, frameon=False)
    return figure


def dampening_figure(runs: Sequence[Run]) -> Figure:
    """Heat maps of means over seeds against SSD's two settings, alpha and lambda: a row for each setting and gamma."""
    tuned = [
        run for run in runs if {"method.alpha", "method.lam"} <= run.config.keys() and run.choices["method"] == "ssd"
    ]
    if not tuned:
        raise UserError("--figure dampening needs runs of method=ssd with several method.alpha and method.lam")
    settings = {
        f"{setting} · gamma={gamma:.2g}": [run for run in found if known_part(run) == gamma]
        for setting, found in by_setting(tuned).items()
        for gamma in sorted(set(map(known_part, found)))
    }
    figure, panels = canvas(len(settings), len(SHOWN))
    for (setting, found), row in zip(settings.items(), panels, strict=True):
        alphas = sorted({run.config["method.alpha"] for run in found})
        lams = sorted({run.config["method.lam"] for run in found})
        for (metric, title), axes in zip(SHOWN.items(), row, strict=True):
            cells = levels(
                found, "unlearned", metric, lambda run: (run.config["method.lam"], run.config["method.alpha"])
            )
            grid = [
                [fmean(cells[lam, alpha]) if (lam, alpha) in cells else float("nan") for alpha in alphas]
                for lam in lams
            ]
            axes.imshow(grid, vmin=0, vmax=1, cmap="viridis", origin="lower", aspect="auto")
            for y, line in enumerate(grid):
                for x, value in enumerate(line):
                    if value == value:
                        axes.text(x, y, f"{value:.2f}", ha="center", va="center", color="w" if value < 0.6 else "k")
            axes.set_xticks(range(len(alphas)), [f"{alpha:g}" for alpha in alphas])
            axes.set_yticks(range(len(lams)), [f"{lam:g}" for lam in lams])
            axes.set(title=title if axes in panels[0] else "", xlabel="alpha")
        name_row(row[0], f"{setting} · lambda")
    return figure


def examples_figure(runs: Sequence[Run]) -> Figure:
    """Manipulated training images as a network sees them, each with the label that it carries and the right one."""
    from ..config import build
    from ..data.datamodule import Transform

    firsts = {setting: found[0].result["config"] for setting, found in by_setting(runs).items()}
    figure, panels = canvas(len(firsts), EXAMPLES, width=1.5, height=1.9)
    for (setting, config), row in zip(firsts.items(), panels, strict=True):
        data = build.dataset(config)
        if data.inputs.ndim != 4:
            raise UserError(f"--figure examples shows images, and {data.name} has none: leave it out by --filter")
        ids = build.split(config, data).manipulated
        ids = ids[data.labels[ids] != data.true_labels[ids]]
        ids = ids[:: max(1, len(ids) // EXAMPLES)][:EXAMPLES]  # of all classes, where samples come class by class
        seen = Transform(data)(data.inputs[ids], ids=ids)
        low, high = data.bounds
        pictures = ((seen - low) / (high - low)).clamp(0, 1).permute(0, 2, 3, 1)
        for axes, picture, given, true in zip(row, pictures, data.labels[ids], data.true_labels[ids], strict=False):
            axes.imshow(picture.squeeze(-1), cmap="gray", vmin=0, vmax=1)
            axes.set_title(f"given: {data.classes[given]}\nright: {data.classes[true]}", fontsize=8)
        for axes in row:
            axes.set_xticks([])
            axes.set_yticks([])
        name_row(row[0], setting)
    return figure


FIGURES: dict[str, Callable[[Sequence[Run]], Figure]] = {
    "gamma": gamma_figure,
    "dampening": dampening_figure,
    "examples": examples_figure,
}


def known_part(run: Run) -> float:
    """Gamma, the known part of the manipulated samples; 0 where the scenario manipulates none."""
    sizes = run.result["sizes"]
    return sizes["forget"] / sizes["manipulated"] if sizes.get("manipulated") else 0.0


def by_setting(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """The runs of scenarios with manipulated samples, by data set, model, scenario and how many samples those are.

    Raises ``UserError`` where there is none.
    """
    found = defaultdict(list)
    for run in runs:
        if run.state == "done" and known_part(run):
            names = " · ".join(run.choices[group] for group in ("dataset", "model", "scenario"))
            found[f"{names} · m={run.result['sizes']['manipulated']}"].append(run)
    if not found:
        raise UserError("no finished run has manipulated samples: make some with scenario=poison or confusion")
    return dict(sorted(found.items()))


def levels(
    runs: Iterable[Run], row: str, metric: str, place: Callable[[Run], Any] = known_part
) -> dict[Any, list[float]]:
    """A metric of one row of the runs' tables by place, one value a seed: many runs share a reference model.

    Raises ``UserError`` where runs with the same seeds disagree, which then differ in a setting.
    """
    found: dict[Any, dict[str, float]] = defaultdict(dict)
    for run in runs:
        if metric in run.values.get(row, {}):
            value, seeds = run.values[row][metric], str(sorted(run.seeds.items()))
            if found[place(run)].setdefault(seeds, value) != value:
                raise UserError(
                    f"a figure shows one setting of {run.method}, and there are runs with several: choose by --filter, "
                    "such as --filter method.alpha=10"
                )
    return {x: list(values.values()) for x, values in sorted(found.items())}


def draw_line(axes: Axes, points: Points, label: str, **style: Any) -> None:
    """A line through the means, its band from the lowest to the highest value."""
    if points:
        x = sorted(points)
        axes.plot(x, [fmean(points[p]) for p in x], label=label, **style)
        bounds = [min(points[p]) for p in x], [max(points[p]) for p in x]
        axes.fill_between(x, *bounds, color=style["color"], alpha=0.12, lw=0)


def name_row(axes: Axes, setting: str) -> None:
    """Say beside the first panel of a row what it is of."""
    axes.set_ylabel(setting.replace(" · ", "\n"), fontsize=9)


def rates(axes: Axes, title: str, xlabel: str) -> None:
    """Axes of rates from 0 to 1 against shares from 0 to 1."""
    axes.set(title=title, xlabel=xlabel, xlim=(0, 1.03), ylim=(-0.03, 1.05))
    axes.grid(color="#e5e5e5")
    axes.spines[["top", "right"]].set_visible(False)


def palette(names: Sequence[str]) -> dict[str, Any]:
    """A colour for each name, none of them grey."""
    from matplotlib import colormaps

    colours = [c for c in colormaps["tab10" if len(names) < 10 else "tab20"].colors if len(set(c)) > 1]
    return {name: colours[number % len(colours)] for number, name in enumerate(names)}


def canvas(rows: int, columns: int, width: float = 4.4, height: float = 3.4) -> tuple[Figure, list[list[Axes]]]:
    """A figure that opens no window, and its panels by row; sizes in inches of a panel."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows + 0.6), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False).tolist()
