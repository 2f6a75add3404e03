"""Colours of a screening table: how near each mean is to the best, or to the retrained model."""

from __future__ import annotations

import math
from collections.abc import Mapping

LEVELS = 5
LEAST = 0.02  # of a rate: a smaller spread is not stretched over all levels


def levels(found: Mapping[int, float], arrow: str, relative: bool = False) -> dict[int, int]:
    """A level for each row from 0, the nearest or best, to 4, the farthest or worst.

    Distances start at 0, other costs at the best of them. They go by their roots, so that one method that destroys the
    model does not make all others look alike; those that are ``relative``, such as times, by their logarithms.
    """
    if logarithmic := relative and all(value > 0 for value in found.values()):
        found = {row: math.log10(value) for row, value in found.items()}
    if not found:
        return {}
    low = 0.0 if arrow.startswith("→") else min(found.values())
    spread = max(max(found.values()) - low, LEAST)
    places = {row: (value - low) / spread for row, value in found.items()}
    return {row: min(LEVELS - 1, int(LEVELS * (p if logarithmic else math.sqrt(p)))) for row, p in places.items()}
