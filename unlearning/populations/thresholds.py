"""Where two samples of numbers can be told apart by a threshold: counts below every cut between distinct values."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def counts_below(first: Array, second: Array) -> tuple[Array, Array, Array]:
    """How many values lie below each cut of the pooled values, for many samples at once.

    Args:
        first, second: (N, S) and (M, S), a column per sample.

    Returns (N + M + 1, S) arrays: the number of values of ``first`` and of ``second`` below the cut, and whether the
    cut is one: equal values cannot be separated.
    """
    pooled = np.concatenate([first, second])
    order = np.argsort(pooled, axis=0, kind="stable")
    ordered = np.take_along_axis(pooled, order, 0)
    start = np.zeros((1, pooled.shape[1]), dtype=np.int64)
    of_first = np.concatenate([start, np.cumsum(order < len(first), 0)])
    of_second = np.concatenate([start, np.cumsum(order >= len(first), 0)])
    edge = np.ones((1, pooled.shape[1]), dtype=bool)
    return of_first, of_second, np.concatenate([edge, ordered[1:] > ordered[:-1], edge])
