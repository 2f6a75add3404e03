"""The result of a run in one or two sentences, with what they do not say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..metrics.directions import taught_wrong

FORGET, RETAIN, MEAN, EARLIER = "forget/acc", "retain/acc", "gap/mean", "earlier/acc"
ONE_RUN = "These are predictions of one run: they do not show that no attack finds a trace in the weights."
ALONE = (
    "Without a retrained model it is not known how a model that never saw them would do, so this describes the result "
    "and proves nothing."
)


def verdict(results: Mapping[str, Any]) -> str:
    """What became of the samples that were to be forgotten, and of the others, before, after and by retraining."""
    rows, count = results["rows"], results["sizes"]["forget"]
    ours, before = rows["unlearned"], rows.get("original", {})
    if results["same_parameters"]:
        return f"The weights are those of the original model: nothing was done about the {count:,} samples."
    if not {FORGET, RETAIN} <= ours.keys():
        return f"No accuracy was measured, so nothing is said about the {count:,} samples."
    others = f"{ours[RETAIN]:.3f} of the others that it learned{earlier(before, RETAIN)}"
    said = (
        f"The model is right about {ours[FORGET]:.3f} of the {count:,} samples that were to be forgotten"
        f"{earlier(before, FORGET)}, and about {others}"
    )
    expected = {} if taught_wrong(results["sizes"]) else rows.get("retrained", {})
    if {FORGET, RETAIN} <= expected.keys():
        said += f"; a model trained without them is right about {expected[FORGET]:.3f} and {expected[RETAIN]:.3f}"
        said += f" (mean gap {results['gaps'][MEAN]:.3f})" if MEAN in results["gaps"] else ""
    said += still_forgotten(results, expected)
    first = "Read the notes first. " if results["notes"] else ""
    return f"{first}{said}. {ONE_RUN if expected else ALONE}"


def still_forgotten(results: Mapping[str, Any], expected: Mapping[str, float]) -> str:
    """A clause on the samples that earlier requests had forgotten, where there are such."""
    rows, after = results["rows"], results.get("after")
    if after is None or EARLIER not in rows["unlearned"]:
        return ""
    retrained = f", that model about {expected[EARLIER]:.3f}" if EARLIER in expected else ""
    now, before = rows["unlearned"][EARLIER], earlier(rows.get("original", {}), EARLIER)
    return f"; of the {after['samples']:,} of earlier requests it is right about {now:.3f}{before}{retrained}"


def earlier(before: Mapping[str, float], metric: str) -> str:
    """The value of the original model, in brackets, if it is there."""
    return f" ({before[metric]:.3f} before)" if metric in before else ""
