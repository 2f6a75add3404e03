"""The score of the NeurIPS 2023 machine unlearning challenge (Triantafillou et al., 2024, arXiv:2406.09073).

How well does the best threshold tell, for each forgotten sample, an unlearned model from a retrained one? Its error
rates give an epsilon as in differential privacy; small ones earn points, and the loss of accuracy takes some away.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .thresholds import Array, counts_below

DELTA, CAP, BUCKET = 1e-5, 50.0, 0.5
AT_ONCE = 2_000_000  # attacks that are kept in memory


def epsilons(unlearned: Array, retrained: Array, delta: float = DELTA, cap: float = CAP) -> Array:
    """(S,) the epsilon of each sample: the largest over all attacks by one threshold or by two.

    Args:
        unlearned, retrained: (N, S) and (M, S) scalar outputs of the models, such as margins.
        delta: as in (epsilon, delta) differential privacy.
        cap: the epsilon of an attack without any error.

    An attack with false positive rate a and false negative rate b has ``max(ln((1 - delta - a) / b), ln((1 - delta - b)
    / a))``. A rate of 0 in a denominator is left out, because it says only that there are too few models to see an
    error; where both rates are 0 the attack has ``cap``.
    """
    samples = unlearned.shape[1]
    low, high = np.triu_indices(len(unlearned) + len(retrained) + 1, 1)  # the region between two cuts
    step = max(1, AT_ONCE // len(low))
    found = np.empty(samples)
    for first in range(0, samples, step):
        part = slice(first, first + step)
        ours, theirs, cut = counts_below(unlearned[:, part], retrained[:, part])
        inside = (ours[high] - ours[low]) / len(unlearned), (theirs[high] - theirs[low]) / len(retrained)
        best = np.max(np.where(cut[low] & cut[high], strongest(*inside, delta, cap), 0.0), 0)
        found[part] = np.minimum(best, cap)
    return found


def strongest(ours: Array, theirs: Array, delta: float, cap: float) -> Array:
    """The larger epsilon of two attacks: that a model in the region is an unlearned one, and that it is none.

    Args:
        ours, theirs: the fractions of the unlearned and of the retrained models in the region.
    """
    best = np.zeros(np.shape(ours))
    for positive, negative in ((theirs, 1 - ours), (1 - theirs, ours)):  # false positives and false negatives
        for value in bounds(positive, negative, delta):
            best = np.maximum(best, value)
        best = np.where((positive <= 0) & (negative <= 0), cap, best)
    return best


def bounds(positive: Array, negative: Array, delta: float) -> Iterator[Array]:
    """The epsilons that both error rates of an attack imply; 0 where they imply none."""
    for rate, other in ((positive, negative), (negative, positive)):
        rest = 1 - delta - rate
        valid = (other > 1e-12) & (rest > 0)
        yield np.log(np.where(valid, rest, 1.0) / np.where(valid, other, 1.0))


def forgetting_quality(epsilon: Array) -> float:
    """F: the mean over samples of 1 point for an epsilon below .5, half a point below 1, a quarter below 1.5, ..."""
    return float(np.mean(0.5 ** np.floor(epsilon / BUCKET)))


def challenge_score(quality: float, retain: tuple[float, float], test: tuple[float, float]) -> float:
    """F times the ratios of accuracy: ``(unlearned, retrained)`` accuracies on the retain and on the test set."""
    return quality * (retain[0] / retain[1]) * (test[0] / test[1])


def null_epsilons(models: int, samples: int = 200, seed: int = 0, others: int | None = None) -> Array:
    """(samples,) the epsilons of two populations of one distribution, of ``models`` and as many or ``others``.

    They are the same for all continuous distributions, since thresholds see nothing but the order of the values.
    """
    random = np.random.default_rng(seed)
    return epsilons(random.random((models, samples)), random.random((others or models, samples)))


def null_quality(models: int, samples: int = 200, seed: int = 0, others: int | None = None) -> float:
    """F of two populations of one distribution: the best that a perfect method can expect of so few models."""
    return forgetting_quality(null_epsilons(models, samples, seed, others))
