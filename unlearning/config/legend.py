"""How the numbers of a run are written and read: the words that all tables share. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..metrics.directions import MEAN_OVER, VALIDATED, Direction

ARROWS: dict[Direction, str] = {"up": "↑", "down": "↓", "to-retrained": "→"}
LEGEND = "↑ higher is better · ↓ lower is better · → closer to the retrained model is better"
DESCRIBED = (
    "↑ higher is better · ↓ lower is better · → by itself says nothing: how low or high it should be is not known"
)
UNKNOWN_TARGET = (
    "No retrained model: forget/acc, test_forget/acc and earlier/acc have no target, and less is not better. Read "
    "instead retain/acc and test/acc beside the original's, and how far attacks (mia/..._auc, mia/matched_loss_acc) "
    "and probes tell the forget set from unseen samples of the same classes: .5 where they cannot"
)
TAUGHT = (
    "the retain set holds manipulated samples that are not known: retain/acc and the gaps use the labels as taught, "
    "corrective/... uses the correct labels"
)


def reading(rows: Mapping[str, Any]) -> list[str]:
    """Lines on how the numbers of these models are read: without a retrained one, which of them say nothing."""
    return [LEGEND] if "retrained" in rows else [DESCRIBED, UNKNOWN_TARGET]


def failures(failed: Mapping[str, str]) -> list[tuple[str, str]]:
    """What failed and why, a pair for all models in which a metric failed alike; ``failed`` is that of the results."""
    models: dict[tuple[str, str], list[str]] = {}
    for name, why in failed.items():
        model, _, metric = name.partition(": ")
        models.setdefault((metric, why), []).append(model)
    return [(f"{', '.join(names)}: {metric}", why) for (metric, why), names in models.items()]


def unstated(results: Mapping[str, Any]) -> list[str]:
    """Lines on the numbers that are missing because there are too few unseen samples for them."""
    found: dict[tuple[int, int], list[str]] = {}
    for name, (there, least) in results.get("unstated", {}).items():
        found.setdefault((there, least), []).append(name)
    return [
        f"not stated: {', '.join(names)}: unseen samples: {there:,}, and at least {least:,} are needed"
        for (there, least), names in found.items()
    ]


def trial_mark(config: Mapping[str, Any]) -> str:
    """What stands before the title of a run that is a trial, wherever its numbers are shown; else nothing."""
    return "" if config.get("trial") is None else "trial: "


def honoured(results: Mapping[str, Any]) -> list[str]:
    """A line on how much of what the user of an own model asked to forget the method was given; none for other runs."""
    requested = results.get("requested")
    return (
        [] if requested is None else [f"given to the method: {results['sizes']['forget']:,} of {requested:,} requested"]
    )


def assumed(config: Mapping[str, Any]) -> list[str]:
    """Lines about how the images of a folder reach the user's own model, which must be as in its training."""
    data = config["dataset"]
    if config["pretrain"].get("checkpoint") is None or "reader" not in data:
        return []
    size, fit, shorter = data["size"], data["fit"], data["shorter"]
    steps = {
        "crop": f"the largest square at the centre, resized to {size} x {size}",
        "shortest": f"the shorter side resized to {shorter or size}, then the centre of {size} x {size}",
        "stretch": f"both sides resized to {size}",
        "pad": f"the longer side resized to {size}, with black beside the shorter one",
        "none": f"as they are, {size} x {size}",
    }
    read = {
        "careful": "turned as their cameras say, transparency on white",
        "torchvision": "read as torchvision's ImageFolder does",
    }
    order = data["classes"]
    given = order if isinstance(order, str) else "the names of the folders in their order" if order is None else order
    colours = "grey" if data["channels"] == 1 else "RGB"
    values = f"{colours} in [0, 1], less the mean {data['mean']}, over the standard deviation {data['std']}"
    return [
        f"Assumed of your images: {read[data['reader']]}; {steps[fit]} ({data['interpolation']}); {values}",
        f"Assumed of your classes: {given}",
    ]


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
    """What a method, its add-ons and the choice of its epoch may see: ``forget set (inputs, labels)``, and so on."""
    sets = {"train": "training set", "classes": "classes to forget", "retrained": "retrained model"}
    seen = (f"{sets.get(name, f'{name} set')} ({what.replace(' and ', ', ')})" for name, what in access.items())
    return ", ".join(seen) or "none"
