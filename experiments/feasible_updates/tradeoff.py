"""What each add-on pays for forgetting as much as retraining: `python -m experiments.feasible_updates.tradeoff OUT`.

A pair of an objective and an add-on that was run at several rates is a line that begins at the original model and leads
to more and more forgetting. Where it crosses rUA = 0, by linear interpolation between two neighbouring rates for every
seed, pairs can be compared: the one with the larger retain accuracy there forgets at a lower price. Prints this table,
and the inner products of ``opt``; writes ``tradeoff.png`` to OUT.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean

from unlearning.report.figures import canvas, palette
from unlearning.report.groups import spread
from unlearning.report.runs import Run, collect

PRICES = ("retain/acc", "test/acc", "distance/fidelity_forget", "mia/svc_entropy_nonmember")
RATE, WEIGHT, RUA = "method.optimizer.lr", "method.forget_weight", "forget/rua"
USUAL = 0.05  # the paper's forget weight
OBJECTIVES = ("random_label", "neggrad_plus")
Line = Mapping[int, Mapping[float, Run]]  # seed and rate


def lines(runs: Sequence[Run]) -> dict[str, dict[str, dict[str, Line]]]:
    """The runs by place, objective and name of the variant; those at one rate alone are no line and left out."""
    found: dict[str, dict[str, dict[str, dict]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    for run in runs:
        if run.state == "done" and run.choices["method"] in OBJECTIVES:
            objective, weight = run.choices["method"], run.config[WEIGHT]
            name = run.method.removeprefix(objective).lstrip("+") or "plain"
            name += f", forget weight {weight:g}" if weight != USUAL else ""
            name += " by tensor" if run.config.get("addon.opt.scope") == "tensor" else ""
            found[run.place][objective][name].setdefault(run.config["seed"], {})[run.config[RATE]] = run
    for objectives in found.values():
        for variants in objectives.values():
            for name in [name for name, line in variants.items() if len(line[min(line)]) == 1]:
                del variants[name]
    return {place: objectives for place, objectives in found.items() if any(objectives.values())}


def path(by_rate: Mapping[float, Run]) -> list[Mapping[str, float]]:
    """The metrics of the original model, and of those that each rate makes of it, in ascending order."""
    return [
        by_rate[min(by_rate)].values["original"],
        *(by_rate[rate].values["unlearned"] for rate in sorted(by_rate)),
    ]


def crossing(by_rate: Mapping[float, Run], metric: str) -> float | None:
    """The metric where rUA first falls through 0 as the rate grows from none; None where it does not."""
    for before, after in pairwise(path(by_rate)):
        if before[RUA] >= 0 > after[RUA]:
            share = before[RUA] / (before[RUA] - after[RUA])
            return (1 - share) * before[metric] + share * after[metric]
    return None


def table(variants: Mapping[str, Line]) -> list[str]:
    """A Markdown table of the prices at rUA = 0, the smallest first.

    The second column is the difference to the plain objective, seed by seed, with the forget weight that suits it best.
    """
    crossed = {
        name: {s: p for s, by_rate in line.items() if None not in (p := [crossing(by_rate, m) for m in PRICES])}
        for name, line in variants.items()
    }
    retained = {name: spread([p[0] for p in found.values()])[0] for name, found in crossed.items()}
    whole = [name for name, line in variants.items() if name.startswith("plain") and len(crossed[name]) == len(line)]
    control = max(whole, key=retained.get)
    rows = {}
    for name, found in crossed.items():
        values = [list(column) for column in zip(*found.values(), strict=True)] or [[] for _ in PRICES]
        differences = [p[0] - crossed[control][seed][0] for seed, p in found.items() if name != control]
        cells = [plus_minus(v) for v in (values[0], differences, *values[1:])]
        rows[name] = f"| {name} | {' | '.join(cells)} | {len(found)} of {len(variants[name])} |"
    head = [PRICES[0], f"less that of *{control}*", *PRICES[1:], "seeds that cross"]
    order = sorted(rows, key=lambda name: (len(crossed[name]) == 0, -retained[name]))
    return [f"| add-on | {' | '.join(head)} |", "| --- |" + " ---: |" * len(head), *(rows[name] for name in order)]


def plus_minus(values: Sequence[float]) -> str:
    """Mean and half the 95 % interval, as in the tables of the report."""
    mean, _, half = spread(values)
    return f"{mean:.3f} ±{half:.3f}" if len(values) > 1 else f"{mean:.3f}" if values else "-"


def draw(found: Mapping[str, Mapping[str, Mapping[str, Line]]], file: Path) -> None:
    """rUA against retain accuracy, means over seeds: a variant is a line from the original model through its rates."""
    figure, panels = canvas(len(found), max(map(len, found.values())), width=5.2, height=3.8)
    names = sorted({name for objectives in found.values() for variants in objectives.values() for name in variants})
    colours = palette([name for name in names if not name.startswith("plain")])
    styles = {name: {"color": colour, "marker": "o"} for name, colour in colours.items()}
    for name, marker in zip((name for name in names if name not in styles), "svD^P*", strict=False):
        styles[name] = {"color": "black", "marker": marker, "ls": ":"}
    for (place, objectives), row in zip(found.items(), panels, strict=True):
        for (objective, variants), axes in zip(objectives.items(), row, strict=False):
            for name, line in variants.items():
                points = list(zip(*map(path, line.values()), strict=True))  # of all seeds at each rate
                x, y = ([fmean(v[metric] for v in seeds) for seeds in points] for metric in ("retain/acc", RUA))
                axes.plot(x, y, ms=5, lw=1.2, label=name, **styles[name])
            axes.axhline(0, color="#8c8c8c", lw=0.8)
            axes.grid(color="#e5e5e5")
            axes.spines[["top", "right"]].set_visible(False)
            axes.set(title=objective, xlabel="retain accuracy", ylabel=f"{place.split(' (')[0]}\nrUA")
    handles = {h.get_label(): h for axes in figure.axes for h in axes.get_legend_handles_labels()[0]}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(file)


def inner_products(folder: Path) -> str:
    """How many of opt's inner products of a step with the two gradients are negative, before and after its mask."""
    texts = []
    for when in ("before", "after"):
        values = [
            value
            for file in sorted(folder.glob("*/curves.json"))
            for name, curve in json.loads(file.read_text()).items()
            if name in (f"unlearn/opt/forget_{when}", f"unlearn/opt/retain_{when}")
            for _, value in curve
        ]
        texts.append(f"{sum(value < 0 for value in values):,} of {len(values):,} {when} the mask")
    return f"Inner products of opt's steps with the two gradients that are negative: {' and '.join(texts)}."


def main(out: Path) -> None:
    """Print the tables, draw the figure."""
    found = lines(collect(out / "multirun"))
    print("# At rUA = 0\n\nOf `python -m experiments.feasible_updates.tradeoff OUT`.\n")
    for place, objectives in found.items():
        for objective, variants in objectives.items():
            print(f"## {place} · {objective}\n", *table(variants), "", sep="\n")
    print(inner_products(out / "multirun"))
    draw(found, out / "tradeoff.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
