"""Figures over runs of corrective scenarios: `python -m experiments.corrective.figures RUNS_DIR --figure gamma`.

``gamma`` shows accuracy against the known part of the manipulated samples, ``dampening`` what a method makes of its
two settings alpha and lambda, ``examples`` manipulated training images. Each is written as NAME.png.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isnan
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from experiments.drawing import canvas, legend_below, palette
from unlearning.errors import UserError
from unlearning.report.runs import Run, collect
from unlearning.report.selection import filtered

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = {  # metrics, and what the corrective literature calls them
    "corrective/acc_seen": "Acc_corr, seen",
    "corrective/acc_unseen": "Acc_corr, unseen",
    "corrective/acc_retain": "Acc_retain",
}
REFERENCE_STYLE = {  # black and grey, since colours stand for methods
    "original": {"color": "#8c8c8c", "ls": ":"},
    "retrained": {"color": "black", "ls": "-"},
    "clean": {"color": "black", "ls": "--"},
}
MARKERS = "osD^vP*Xph<>"
ALPHA, LAMBDA = "method.alpha", "method.lam"
EXAMPLES = 8  # images per scenario

Points = Mapping[float, Sequence[float]]  # values over seeds at each position of the horizontal axis


def gamma_figure(runs: Sequence[Run]) -> Figure:
    """Accuracy against gamma, the known part of the manipulated samples: the figure of Goel et al. (2024).

    There is one row per data set, model and scenario, and one line per method through the means over seeds, with a band
    from the lowest to the highest seed. Reference models that do not depend on gamma are horizontal lines.
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
    legend_below(figure, columns=6)
    return figure


def dampening_figure(runs: Sequence[Run]) -> Figure:
    """Heat maps of means over seeds against alpha and lambda: one row per setting, method and gamma.

    Raises ``UserError`` unless a method was run with several values of both.
    """
    rows: dict[str, list[Run]] = defaultdict(list)
    for setting, found in by_setting(runs).items():
        for run in sorted(found, key=lambda run: (run.method, known_part(run))):
            if {ALPHA, LAMBDA} <= run.config.keys():
                rows[f"{setting} · {run.method} · gamma={known_part(run):.2g}"].append(run)
    settings = {
        name: found
        for name, found in rows.items()
        if all(len({r.config[k] for r in found}) > 1 for k in (ALPHA, LAMBDA))
    }
    if not settings:
        raise UserError(
            f"the figure dampening needs a method that was run with several {ALPHA} and {LAMBDA}", key=ALPHA
        )
    figure, panels = canvas(len(settings), len(SHOWN))
    for (setting, found), row in zip(settings.items(), panels, strict=True):
        alphas, lams = (sorted({run.config[key] for run in found}) for key in (ALPHA, LAMBDA))
        for (metric, title), axes in zip(SHOWN.items(), row, strict=True):
            cells = levels(found, "unlearned", metric, lambda run: (run.config[LAMBDA], run.config[ALPHA]))
            grid = [
                [fmean(cells[lam, alpha]) if (lam, alpha) in cells else float("nan") for alpha in alphas]
                for lam in lams
            ]
            axes.imshow(grid, vmin=0, vmax=1, cmap="viridis", origin="lower", aspect="auto")
            for y, line in enumerate(grid):
                for x, value in enumerate(line):
                    if not isnan(value):
                        axes.text(x, y, f"{value:.2f}", ha="center", va="center", color="w" if value < 0.6 else "k")
            axes.set_xticks(range(len(alphas)), [f"{alpha:g}" for alpha in alphas])
            axes.set_yticks(range(len(lams)), [f"{lam:g}" for lam in lams])
            axes.set(title=title if axes in panels[0] else "", xlabel="alpha")
        name_row(row[0], f"{setting} · lambda")
    return figure


def examples_figure(runs: Sequence[Run]) -> Figure:
    """Manipulated training images as a network sees them, each with the label it carries and the correct one."""
    from unlearning.config.build import Spec
    from unlearning.data.transform import Transform

    firsts = {setting: found[0].result["config"] for setting, found in by_setting(runs).items()}
    figure, panels = canvas(len(firsts), EXAMPLES, width=1.5, height=1.9)
    for (setting, config), row in zip(firsts.items(), panels, strict=True):
        raw = Spec("dataset", config["dataset"]).build()
        problem = Spec("scenario", config["scenario"]).build().prepare(raw)
        data, ids = problem.data, problem.split.manipulated
        if data.inputs.ndim != 4:
            raise UserError(
                f"the figure examples shows images, and {data.name} has none: leave it out by --filter", key="dataset"
            )
        ids = ids[data.labels[ids] != data.true_labels[ids]]
        stride = max(1, len(ids) // EXAMPLES)  # so that all classes are shown, even where samples are sorted by class
        ids = ids[::stride][:EXAMPLES]
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
    """The finished runs with manipulated samples, by data set, model, scenario and the number of these samples.

    Trials are left out.
    Raises ``UserError`` where there is none.
    """
    found: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        if run.state == "done" and known_part(run) and "trial" not in run.config:
            names = " · ".join(run.choices[group] for group in ("dataset", "model", "scenario"))
            found[f"{names} · m={run.result['sizes']['manipulated']}"].append(run)
    if not found:
        raise UserError(
            "no finished run has manipulated samples: make some with scenario=poison or confusion", key="scenario"
        )
    return dict(sorted(found.items()))


def levels(
    runs: Iterable[Run], row: str, metric: str, place: Callable[[Run], Any] = known_part
) -> dict[Any, list[float]]:
    """A metric of one row of the runs' tables by place, one value per seed, since many runs share a reference model.

    Raises ``UserError`` where runs with the same seeds disagree, because they differ in a setting.
    """
    found: dict[Any, dict[str, float]] = defaultdict(dict)
    for run in runs:
        if metric in run.values.get(row, {}):
            value, seeds = run.values[row][metric], str(sorted(run.seeds.items()))
            if found[place(run)].setdefault(seeds, value) != value:
                raise UserError(
                    f"a figure shows one setting of {run.method}, and there are runs with several: choose by --filter, "
                    "for example --filter method.alpha=10",
                    key="--filter",
                    kind="conflict",
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
    """Name the setting of a row beside its first panel."""
    axes.set_ylabel(setting.replace(" · ", "\n"), fontsize=9)


def rates(axes: Axes, title: str, xlabel: str) -> None:
    """Scale both axes for fractions from 0 to 1."""
    axes.set(title=title, xlabel=xlabel, xlim=(0, 1.03), ylim=(-0.03, 1.05))
    axes.grid(color="#e5e5e5")
    axes.spines[["top", "right"]].set_visible(False)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser("python -m experiments.corrective.figures", description=__doc__)
    add = parser.add_argument
    add("runs", metavar="RUNS_DIR", type=Path, help="folder of the runs")
    add("--figure", choices=FIGURES, nargs="+", default=["gamma"], help="what to draw (gamma)")
    add("--filter", metavar="KEY=VALUE", nargs="+", action="extend", default=[], help="only these runs; globs allowed")
    add("--out", metavar="DIR", type=Path, help="folder for NAME.png (RUNS_DIR)")
    args = parser.parse_args(argv)
    folder = args.out or args.runs
    try:
        runs = filtered(collect(args.runs), args.filter)
        for name in args.figure:
            figure = FIGURES[name](runs)
            folder.mkdir(parents=True, exist_ok=True)
            figure.savefig(file := folder / f"{name}.png")
            print(file)
    except UserError as error:
        print(f"figures: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
