"""How a model drifts over requests that follow each other: a table and a figure, beside retraining for each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table

from ..config.legend import number
from ..records.drawing import COLOURS, canvas

RATES = {  # metric: what it is about
    "retain/acc": "utility",
    "test/acc": "utility",
    "forget/acc": "this request",
    "mia/loss_auc": "this request",
    "earlier/acc": "all earlier requests",
    "earlier/loss_auc": "all earlier requests",
}
SECONDS = "cost/seconds"
WIDEST = 100  # columns of a table, on screens and in files that are narrower


@dataclass(frozen=True)
class Step:
    """One request of a chain.

    Args:
        name: of its list.
        forget, earlier: the samples that it asks to forget, and those of all requests before it.
        rows: numbers of the unlearned and, where there is one, of the retrained model, by metric.
        cost: the seconds of unlearning over those of one retraining; None where one is not known.
        warning: of a model that was destroyed; empty where it was not.
        spread: the standard deviations of ``rows`` over seeds, where there are several.
    """

    name: str
    forget: int
    earlier: int
    rows: Mapping[str, Mapping[str, float]]
    cost: float | None
    warning: str = ""
    spread: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def step(name: str, results: Mapping[str, Any]) -> Step:
    """The numbers of a run for the table, from the content of its ``results.json``."""
    rows = {model: row for model, row in results["rows"].items() if model in ("unlearned", "retrained")}
    seconds = [rows.get(model, {}).get(SECONDS) for model in ("unlearned", "retrained")]
    cost = seconds[0] / seconds[1] if all(seconds) else None
    earlier = (results["after"] or {"samples": 0})["samples"]
    return Step(name, results["sizes"]["forget"], earlier, rows, cost, results["warning"])


def averaged(chains: Sequence[Sequence[Step]]) -> list[Step]:
    """The requests with the means of their numbers over chains of several seeds, and standard deviations (n - 1).

    A number that a chain lacks is left out of the mean; costs are averaged where all chains have one.
    """
    if len(chains) == 1:
        return list(chains[0])
    found = []
    for steps in zip(*chains, strict=True):
        rows: dict[str, dict[str, float]] = {}
        spread: dict[str, dict[str, float]] = {}
        for model in dict.fromkeys(model for one in steps for model in one.rows):
            for metric in dict.fromkeys(metric for one in steps for metric in one.rows.get(model, {})):
                values = [one.rows[model][metric] for one in steps if metric in one.rows.get(model, {})]
                rows.setdefault(model, {})[metric] = float(np.mean(values))
                if len(values) > 1:
                    spread.setdefault(model, {})[metric] = float(np.std(values, ddof=1))
        costs = [one.cost for one in steps if one.cost is not None]
        cost = float(np.mean(costs)) if len(costs) == len(steps) else None
        warning = next((one.warning for one in steps if one.warning), "")
        found.append(replace(steps[0], rows=rows, cost=cost, warning=warning, spread=spread))
    return found


def drift_table(steps: Sequence[Step], console: Console | None = None) -> None:
    """Print a row for each request and model: the numbers of the unlearned one, and of the retrained one below."""
    console = console or Console(width=max(Console().width, WIDEST))
    shown = measured(steps)
    for one in steps:
        if one.warning:
            console.print(f"warning: {one.name}: {one.warning}", style="bold red", markup=False, highlight=False)
    table = Table(box=box.SIMPLE_HEAD)
    last = ["cost"] if any(one.cost is not None for one in steps) else []
    for heading in ("request", "forget", "earlier", *(metric.replace("/", "/\n") for metric in shown), *last):
        table.add_column(heading, justify="left" if heading == "request" else "right", overflow="fold")
    for one in steps:
        cost = ["" if one.cost is None else f"{one.cost:.3f}" for _ in last]
        table.add_row(one.name, f"{one.forget:,}", f"{one.earlier:,}", *cells(one, "unlearned", shown), *cost)
        if "retrained" in one.rows:
            table.add_row("  retrained", "", "", *cells(one, "retrained", shown), *("1" for _ in last), style="dim")
    console.print(table)
    if any("retrained" in one.rows for one in steps):
        note = "retrained: without this and all earlier requests. cost: of one retraining, in time"
    else:
        note = "Without retrained models it is not known how low forget/acc and earlier/acc should be"
    console.print(note, style="dim", markup=False, highlight=False)


def measured(steps: Sequence[Step]) -> list[str]:
    """The metrics that any request has."""
    return [metric for metric in RATES if any(metric in one.rows["unlearned"] for one in steps)]


def cells(one: Step, model: str, metrics: Sequence[str]) -> list[str]:
    """The numbers of a model as text; empty where there is none."""
    spread = one.spread.get(model, {})
    deviations = [f" ± {spread[metric]:.3f}" if metric in spread else "" for metric in metrics]
    return [number(metric, one.rows[model].get(metric)) + sd for metric, sd in zip(metrics, deviations, strict=True)]


def drift_figure(steps: Sequence[Step]) -> Figure:
    """A panel for each metric and one for the cost: its value by request, of the unlearned and the retrained model.

    A joint request stands apart, without a line to it. Without a retrained model there is no panel for the cost.
    """
    shown = measured(steps)
    costs = [one.cost for one in steps]
    figure, panels = canvas(1, len(shown) + any(cost is not None for cost in costs), 3.2, 3.2)
    chain = [one for one in steps if one.name != "joint"]
    for axes, metric in zip(panels[0], shown, strict=False):
        for model, marker, size in (("retrained", "o", 11), ("unlearned", "D", 5)):  # to be seen around the other one
            values = [one.rows.get(model, {}).get(metric, np.nan) for one in steps]
            if not np.isfinite(values).any():
                continue
            style: dict[str, Any] = {
                "color": COLOURS[model],
                "marker": marker,
                "ms": size,
                "label": model,
                "clip_on": False,
            }
            style |= {"mfc": "none"} if model == "retrained" else {}
            axes.plot(range(len(chain)), values[: len(chain)], **style)
            axes.plot(range(len(chain), len(steps)), values[len(chain) :], **style | {"ls": "", "label": None})
        axes.set(title=f"{metric}\n({RATES[metric]})", ylim=(0, 1.03))
    for axes in panels[0][len(shown) :]:
        axes.bar(range(len(steps)), [cost or 0 for cost in costs], color=COLOURS["unlearned"])
        axes.axhline(1, color=COLOURS["retrained"], ls="--")
        axes.set(title="cost\n(of one retraining, in time)")
    for axes in panels[0]:
        axes.set_xticks(range(len(steps)), [one.name for one in steps], rotation=30, ha="right")
        axes.set_xlim(-0.5, len(steps) - 0.5)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0][0].legend(frameon=False, loc="lower left")
    return figure
