"""Scores of single training samples, as functions of arrays. Rows are models, columns are samples."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import softmax

Array = np.ndarray[Any, Any]


def el2n(logits: Array, labels: Array) -> Array:
    """(N,) the norm of the error ``|softmax(z) - onehot(y)|_2`` (Paul et al., 2021, arXiv:2107.07075), 0 to sqrt 2.

    In the paper it is a mean over several models after a few epochs of training, which rank samples better than one
    model at the end does.

    Args:
        logits: (N, C).
        labels: (N,).
    """
    error = softmax(logits.astype(np.float64), 1)
    error[np.arange(len(labels)), labels] -= 1
    return np.asarray(np.linalg.norm(error, axis=1))


def loss(margins: Array) -> Array:
    """The cross-entropy ``-ln p_y`` of logit-scaled confidences ``ln p_y - ln(1 - p_y)``, in nats."""
    return np.logaddexp(0, -margins)


def centre_distance(features: Array) -> Array:
    """(M,) distances of features (M, D) from their mean, in units of the mean distance.

    Samples far from the mean of the training set share little with the others, and near ones are entangled with them
    (Zhao et al., 2024, arXiv:2406.01257). That mean is nearly the retain set's, since a forget set is small. The unit
    makes models comparable, whose features have scales of their own.
    """
    apart = np.linalg.norm(features - features.mean(0), axis=1)
    return np.asarray(apart / max(apart.mean(), np.finfo(float).tiny))


def entanglement(features: Array, forget: Array) -> float:
    """How much the forget and the retain set overlap in feature space (Zhao et al., 2024, arXiv:2406.01257, eq. 1).

    The sum of both sets' mean squared distances from their own means, over half the sum of the squared distances of
    these two means from that of all; infinite where the means are the same.

    Args:
        features: (M, D) of all training samples.
        forget: (M,) bool.
    """
    centre, within, between = features.mean(0), 0.0, 0.0
    for part in (features[forget], features[~forget]):
        mean = part.mean(0)
        within += float(((part - mean) ** 2).sum(1).mean())
        between += float(((mean - centre) ** 2).sum()) / 2
    return within / between if between > 0 else float("inf")


def mean_known(values: Array, known: Array) -> Array:
    """(N,) the mean over the models (K, N) that ``known`` counts; NaN where there is none."""
    count = known.sum(0)
    total = np.where(known, values, 0.0).sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
