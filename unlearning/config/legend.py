"""How the numbers of a run are written and read: the words that all tables share. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..metrics.directions import MEAN_OVER, VALIDATED, Direction

ARROWS: dict[Direction, str] = {"up": "↑", "down": "↓", "to-retrained": "→"}
LEGEND = "↑ higher is better · ↓ lower is better · → closer to the retrained model is better"
TAUGHT = (
    "the retain set holds manipulated samples that are not known: retain/acc and the gaps use the labels as taught, "
    "corrective/... uses the correct labels"
)


def trial_mark(config: Mapping[str, Any]) -> str:
    """What stands before the title of a run that is a trial, wherever its numbers are shown; else nothing."""
    return "" if config.get("trial") is None else "trial: "


def honoured(results: Mapping[str, Any]) -> list[str]:
    """A line on how much of what the user of an own model asked to forget was forgotten; none for other runs."""
    requested = results.get("requested")
    return [] if requested is None else [f"forgotten: {results['sizes']['forget']:,} of {requested:,} requested"]


def mean_gap(names: Iterable[str]) -> str:
    """The definition of ``gap/mean`` in one line, with those of its metrics that are among ``names``.

    That of ``gap/mean_val`` follows where ``mean_val`` is among them.
    """
    there = set(names)
    over = [name for name in MEAN_OVER if name in there]
    validated = [name for name in VALIDATED if name not in MEAN_OVER] if "mean_val" in there else []
    text = f"gap/mean: mean absolute gap over {', '.join(over)}"
    return text + (f"; gap/mean_val, for choices: with {', '.join(validated)}" if validated else "")


def number(metric: str, value: float | None) -> str:
    """A value as tables show it; empty where there is none."""
    if value is None:
        return ""
    if metric == "cost/seconds":
        return f"{value:.2f}"
    return f"{value:,.0f}" if metric.startswith("cost/") else f"{value:.3f}"


def sights(access: Mapping[str, str]) -> str:
    """What a method and its add-ons may see: ``forget set (inputs, labels), retain set (inputs)``."""
    sets = {"train": "training set", "classes": "classes to forget"}
    seen = (f"{sets.get(name, f'{name} set')} ({what.replace(' and ', ', ')})" for name, what in access.items())
    return ", ".join(seen) or "none"
