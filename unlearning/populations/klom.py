"""KLoM, the KL divergence of margins (Georgiev et al., 2024, arXiv:2410.23232), and its null floor.

A column of each array holds one sample's margins (logit-scaled confidences) over the models of a population.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from .thresholds import Array, counts_below

Direction = Literal["unlearned||retrained", "retrained||unlearned"]
BINS, CLIP, FLOOR = 20, 100.0, 1e-5


def histograms(first: Array, second: Array, bins: int = BINS, clip: float = CLIP) -> tuple[Array, Array]:
    """(bins, S) relative frequencies of both, in equal bins over the range that they span together.

    Args:
        first, second: (N, S) and (M, S).
        bins: how many.
        clip: the largest absolute value; values beyond it count as that.
    """
    first, second = np.clip(first, -clip, clip), np.clip(second, -clip, clip)
    low = np.minimum(first.min(0), second.min(0))
    width = np.maximum(first.max(0), second.max(0)) - low
    samples = first.shape[1]

    def frequencies(values: Array) -> Array:
        place = (values - low) / np.where(width > 0, width, 1.0) * bins
        cell = np.minimum(place.astype(np.int64), bins - 1) * samples + np.arange(samples)
        return np.bincount(cell.ravel(), minlength=bins * samples).reshape(bins, samples) / len(values)

    return frequencies(first), frequencies(second)


def klom(unlearned: Array, retrained: Array, direction: Direction = "unlearned||retrained", bins: int = BINS) -> Array:
    """(S,) the KL divergence between the histograms of each sample's margins, in nats.

    Args:
        unlearned, retrained: (N, S) and (M, S) margins over the models.
        direction: ``P||Q`` is ``sum p ln(p / q)``.
        bins: of the histograms.

    An empty bin of Q counts as ``FLOOR``, so no value is above ``ln 1e5``, about 11.5. Finite populations of one
    distribution do not have 0, and few models have much: see ``null_floor``.
    """
    pair = histograms(unlearned, retrained, bins)
    p, q = pair if direction == "unlearned||retrained" else pair[::-1]
    return np.sum(np.where(p > 0, p * np.log(np.maximum(p, FLOOR) / np.maximum(q, FLOOR)), 0.0), 0)


def js_divergence(first: Array, second: Array, bins: int = BINS) -> Array:
    """(S,) the Jensen-Shannon divergence of the histograms, in nats: between 0 and ln 2."""
    p, q = histograms(first, second, bins)
    mean = (p + q) / 2

    def from_mean(part: Array) -> Array:
        there = part > 0
        ratio = np.where(there, part, 1.0) / np.where(there, mean, 1.0)
        return np.sum(part * np.log(ratio), 0)

    return (from_mean(p) + from_mean(q)) / 2


def ks_distance(first: Array, second: Array) -> Array:
    """(S,) the Kolmogorov-Smirnov statistic: the largest difference of the empirical distribution functions."""
    below, others_below, cut = counts_below(first, second)
    difference = np.abs(below / len(first) - others_below / len(second))
    return np.where(cut, difference, 0.0).max(0)


def null_floor(
    models: int,
    samples: int = 4000,
    seed: int = 0,
    others: int | None = None,
    direction: Direction = "unlearned||retrained",
) -> tuple[float, float]:
    """Mean and 95th percentile of KLoM between two populations of one normal distribution.

    Args:
        models: in the first population, the unlearned one.
        samples: simulated ones.
        seed: of the simulation.
        others: models in the second population, as many where it is None.
        direction: as in ``klom``.
    """
    random = np.random.default_rng(seed)
    found = klom(random.normal(size=(models, samples)), random.normal(size=(others or models, samples)), direction)
    return float(found.mean()), float(np.percentile(found, 95))
