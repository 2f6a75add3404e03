"""The price at which add-ons forget as much as retraining: `python -m experiments.feasible_updates.tradeoff OUT`.

A pair of an objective and an add-on that was run at several rates is a line that begins at the original model and leads
to more and more forgetting. It crosses rUA = 0 at a point that is found for every seed by linear interpolation between
two neighbouring rates. There pairs can be compared: the one with the larger retain accuracy forgets at a lower price.
The control is the plain objective with the forget weight that turns out best for it, a choice in its favour. The script
prints this table and the inner products of ``opt``, and writes ``tradeoff.png`` to OUT.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean

from experiments.cells import plus_minus
from experiments.drawing import canvas, legend_below, palette
from unlearning.errors import UserError
from unlearning.report.runs import Run, collect

PRICES = ("retain/acc", "test/acc", "distance/fidelity_forget", "mia/svc_entropy_nonmember")
RATE, WEIGHT, RUA = "method.optimizer.lr", "method.forget_weight", "forget/rua"
USUAL = 0.05  # the paper's forget weight
OBJECTIVES = ("neggrad_plus", "random_label")
FOCUSING = ("focus", "prob")
Line = Mapping[int, Mapping[float, Run]]  # by seed and rate


def lines(runs: Sequence[Run]) -> dict[tuple[str, str], dict[str, Line]]:
    """The runs by place and objective, and then by variant.

    Variants without two rates that all seeds have are left out, and so are runs in which a metric failed, which the
    report names.
    """
    found: dict[tuple[str, str], dict[str, dict]] = defaultdict(lambda: defaultdict(dict))
    for run in runs:
        if run.state != "done" or run.choices["method"] not in OBJECTIVES:
            continue
        if any({RUA, *PRICES} - run.values.get(row, {}).keys() for row in ("original", "unlearned")):
            continue
        objective, weight = run.choices["method"], run.config[WEIGHT]
        name = run.method.removeprefix(objective).lstrip("+") or "plain"
        name += f", forget weight {weight:g}" if weight != USUAL else ""
        name += ", rho weighs old" if "old" in {run.config.get(f"addon.{one}.rho_weighs") for one in FOCUSING} else ""
        name += " by tensor" if run.config.get("addon.opt.scope") == "tensor" else ""
        found[run.place, objective][name].setdefault(run.config["seed"], {})[run.config[RATE]] = run
    drawn = {
        key: {name: line for name, line in variants.items() if len(set.intersection(*map(set, line.values()))) > 1}
        for key, variants in found.items()
    }
    return {key: variants for key, variants in drawn.items() if variants}


def path(by_rate: Mapping[float, Run]) -> list[Mapping[str, float]]:
    """The metrics of the original model, and of the unlearned models by ascending rate."""
    original = by_rate[min(by_rate)].values["original"]
    return [original, *(by_rate[rate].values["unlearned"] for rate in sorted(by_rate))]


def crossing(by_rate: Mapping[float, Run]) -> dict[str, float] | None:
    """The metrics at which rUA first falls below 0 as the rate grows; None where it never does."""
    for before, after in pairwise(path(by_rate)):
        if before[RUA] >= 0 > after[RUA]:
            share = before[RUA] / (before[RUA] - after[RUA])
            return {metric: (1 - share) * before[metric] + share * after[metric] for metric in PRICES}
    return None


def table(variants: Mapping[str, Line]) -> list[str]:
    """A Markdown table of the metrics at rUA = 0, the largest retain accuracy first.

    Variants that do not cross on all seeds come last. The second column is the difference to the control, the plain
    objective with the forget weight that suits it best, over the seeds that both have. The last column says on how many
    seeds even the lowest rate forgets too much, so that the line below it is known only at the original model.
    """
    crossed = {
        name: {seed: found for seed, by_rate in line.items() if (found := crossing(by_rate)) is not None}
        for name, line in variants.items()
    }
    retained = {name: {seed: prices["retain/acc"] for seed, prices in found.items()} for name, found in crossed.items()}
    whole = [name for name, line in variants.items() if len(crossed[name]) == len(line)]
    plain = [name for name in whole if name.startswith("plain")]
    control = max(plain, key=lambda name: fmean(retained[name].values()), default="")
    rows = {}
    for name, found in crossed.items():
        values = {metric: [prices[metric] for prices in found.values()] for metric in PRICES}
        base = retained[control] if control and control != name else {}
        differences = [price - base[seed] for seed, price in retained[name].items() if seed in base]
        first, *others = (plus_minus(v) for v in values.values())
        early = sum(path(by_rate)[1][RUA] < 0 for by_rate in variants[name].values())
        seeds = f"{len(found)} of {len(variants[name])}" + (f", {early} below the lowest rate" if early else "")
        rows[name] = f"| {name} | {' | '.join([first, plus_minus(differences), *others, seeds])} |"
    head = [
        PRICES[0],
        f"less that of *{control}*" if control else "less the control's",
        *PRICES[1:],
        "seeds that cross",
    ]
    order = sorted(rows, key=lambda name: (name not in whole, -fmean(retained[name].values() or [0.0])))
    return [f"| add-on | {' | '.join(head)} |", "| --- |" + " ---: |" * len(head), *(rows[name] for name in order)]


def draw(found: Mapping[tuple[str, str], Mapping[str, Line]], file: Path) -> None:
    """Draw rUA against retain accuracy, both as means over seeds.

    There is one line per variant, from the original model through the variant's rates.
    """
    places = sorted({place for place, _ in found})
    figure, panels = canvas(len(places), len(OBJECTIVES), width=5.2, height=3.8)
    names = sorted({name for variants in found.values() for name in variants})
    colours = palette([name for name in names if not name.startswith("plain")])
    styles = {name: {"color": colour, "marker": "o"} for name, colour in colours.items()}
    for name, marker in zip((name for name in names if name not in styles), "svD^P*<>", strict=False):
        styles[name] = {"color": "black", "marker": marker, "ls": ":"}
    for (place, objective), variants in found.items():
        axes = panels[places.index(place)][OBJECTIVES.index(objective)]
        for name, line in variants.items():
            common = set.intersection(*map(set, line.values()))  # a run may have failed or may not have been made yet
            by_seed = [path({rate: by_rate[rate] for rate in common}) for by_rate in line.values()]
            points = list(zip(*by_seed, strict=True))
            x, y = ([fmean(v[metric] for v in seeds) for seeds in points] for metric in ("retain/acc", RUA))
            axes.plot(x, y, ms=5, lw=1.2, label=name, **styles[name])
        axes.axhline(0, color="#8c8c8c", lw=0.8)
        axes.grid(color="#e5e5e5")
        axes.spines[["top", "right"]].set_visible(False)
        axes.set(title=objective, xlabel="retain accuracy", ylabel=f"{place.split(' (')[0]}\nrUA")
    legend_below(figure, columns=4)
    figure.savefig(file)


def inner_products(folder: Path) -> str:
    """How many inner products of opt's steps with the two gradients are negative, before and after its mask."""
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
    return f"Negative inner products of opt's steps with the two gradients: {' and '.join(texts)}."


def main(out: Path) -> str:
    """The page of tables as Markdown; the figure is written to ``out``.

    Raises ``UserError`` where ``out`` has no runs, or none at several rates.
    """
    found = lines(collect(out / "multirun"))
    if not found:
        raise UserError(f"{out}: no objective was run at several rates; make the runs with sweeps.sh", kind="missing")
    draw(found, out / "tradeoff.png")
    page = ["# At rUA = 0", "", "Printed by `python -m experiments.feasible_updates.tradeoff OUT`.", ""]
    for (place, objective), variants in sorted(found.items()):
        page += [f"## {place} · {objective}", "", *table(variants), ""]
    return "\n".join([*page, inner_products(out / "multirun")])


if __name__ == "__main__":
    try:
        print(main(Path(*sys.argv[1:2])))
    except UserError as error:
        sys.exit(f"tradeoff: {error}")
