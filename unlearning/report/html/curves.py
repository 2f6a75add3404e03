"""The curves of unlearning: means over the runs of a group, with few enough points for a page."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from ...records.names import CURVES
from ..runs import Run

POINTS, CURVES_SHOWN = 60, 12


def curves_of(runs: Sequence[Run]) -> dict[str, Any]:
    """By name without ``unlearn/``: the places, what they count, and the mean, least and largest value there.

    Each place is an epoch for accuracies, which methods measure from epoch 0, and for the distance by which an epoch is
    chosen, and a step for all else. Curves of fewer
    than two points are none. A place counts where all runs with the curve have it.
    """
    found: dict[str, list[dict[float, float]]] = defaultdict(list)
    for run in runs:
        for name, points in read(run).items():
            found[name.removeprefix("unlearn/")].append({float(x): float(y) for x, y in points})
    texts = {}
    for name, each in sorted(found.items(), key=lambda item: ("acc" not in item[0], item[0]))[:CURVES_SHOWN]:
        places = sorted(set.intersection(*map(set, each)))
        if len(places) > 1:
            last, few = len(places) - 1, min(len(places), POINTS)
            places = [places[round(i * last / (few - 1))] for i in range(few)]
            values = [[curve[x] for curve in each] for x in places]
            texts[name] = {
                "x": places,
                "by": "epoch" if "acc" in name or name == "distance" else "step",
                "mean": [fmean(there) for there in values],
                "low": [min(there) for there in values],
                "high": [max(there) for there in values],
                "n": len(each),
            }
    return texts


def read(run: Run) -> dict[str, Any]:
    """The curves of a run; none where its folder has no whole file of them."""
    try:
        found = json.loads((run.folder / CURVES).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
