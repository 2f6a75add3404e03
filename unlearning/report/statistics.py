"""Intervals and tests over seeds and settings, as functions of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.special import chdtrc, ndtr, stdtr, stdtrit

Array = np.ndarray[Any, Any]
RESAMPLES = 10_000
ROUNDING = 1e-12  # differences that are as near to each other as this are equal


@dataclass(frozen=True)
class Difference:
    """The mean of n differences, its standard error, and the two-sided p of Student's test that it is 0."""

    n: int
    mean: float
    error: float
    p: float


def bootstrap_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """The bootstrap interval of the mean, which never leaves the range of the values.

    The percentiles are those of the expanded bootstrap (Hesterberg, 2015, arXiv:1411.5279), which makes up for the
    narrowness of few values: ``Phi(-sqrt(n / (n - 1)) t)`` with Student's quantile t. For fewer than about eight values
    even that is too narrow, since the interval cannot be wider than their range. NaN for fewer than two.
    """
    n = len(values)
    if n < 2:
        return math.nan, math.nan
    tail = ndtr(-math.sqrt(n / (n - 1)) * stdtrit(n - 1, (1 + level) / 2))
    means = np.asarray(values, dtype=float)[resamples(n)].mean(1)
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


@lru_cache(maxsize=32)
def resamples(n: int) -> Array:
    """(RESAMPLES, n) rows drawn with replacement, the same for all metrics."""
    return np.random.default_rng(0).integers(0, n, (RESAMPLES, n))


def paired_test(differences: Sequence[float]) -> Difference:
    """Student's test of paired differences; the p is NaN for fewer than two, and where they have no spread.

    Equal differences tell nothing of the spread that others would have: it is not shown to be 0.
    """
    n = len(differences)
    mean = math.fsum(differences) / n if n else math.nan
    if n < 2:
        return Difference(n, mean, math.nan, math.nan)
    if max(differences) - min(differences) <= ROUNDING:
        return Difference(n, mean, 0.0, math.nan)
    error = float(np.std(differences, ddof=1)) / math.sqrt(n)
    return Difference(n, mean, error, float(2 * stdtr(n - 1, -abs(mean / error))))


def equivalence(differences: Sequence[float], margin: float) -> float:
    """The p of two one-sided tests (TOST; Schuirmann, 1987): small where the mean is between -margin and margin.

    NaN where ``paired_test`` has none.
    """
    found = paired_test(differences)
    if math.isnan(found.p):
        return math.nan
    above, below = ((margin + sign * found.mean) / found.error for sign in (1, -1))
    return float(stdtr(found.n - 1, -min(above, below)))


def holm(ps: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm, 1979), in the same order."""
    order = np.argsort(ps)
    raised = [(len(ps) - i) * ps[place] for i, place in enumerate(order)]
    found = np.minimum(np.maximum.accumulate(raised), 1.0)
    return [float(found[place]) for place in np.argsort(order)]


def ranks(costs: Array) -> Array:
    """(S, M) ranks of the methods in each setting, from 1 for the lowest cost; ties share the mean of their ranks."""
    lower = (costs[:, None, :] < costs[:, :, None]).sum(2)
    tied = (costs[:, None, :] == costs[:, :, None]).sum(2)
    return lower + (tied + 1) / 2


def friedman(costs: Array) -> float:
    """The p of Friedman's test that all methods rank alike over settings, corrected for ties; (S, M) costs."""
    settings, methods = costs.shape
    found = ranks(costs)
    spread = ((found - (methods + 1) / 2) ** 2).sum() / (settings * (methods - 1))
    if spread == 0:
        return 1.0
    between = settings * ((found.mean(0) - (methods + 1) / 2) ** 2).sum()
    return float(chdtrc(methods - 1, between / spread))


def critical_difference(methods: int, settings: int, level: float = 0.95) -> float:
    """The difference of mean ranks above which two methods differ (Nemenyi; Demsar, 2006, section 3.2.2)."""
    quantile = studentized_range(methods, level) / math.sqrt(2)
    return quantile * math.sqrt(methods * (methods + 1) / (6 * settings))


def studentized_range(count: int, level: float) -> float:
    """The quantile of the range of ``count`` independent standard normal numbers, by bisection.

    The range is below q with probability ``count * int phi(z) (Phi(z) - Phi(z - q))^(count - 1) dz``, where z stands
    for the largest number. scipy.stats knows it, too, but takes a second to import.
    """
    z = np.linspace(-9, 9, 3001)
    density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    low, high = 0.0, 20.0
    for _ in range(50):
        q = (low + high) / 2
        below = count * np.trapezoid(density * (ndtr(z) - ndtr(z - q)) ** (count - 1), z)
        low, high = (q, high) if below < level else (low, q)
    return high
