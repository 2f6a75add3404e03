"""U-LiRA (Hayes et al., 2024, arXiv:2403.01218) and RULI's questions (Naderloui et al., 2025, arXiv:2506.13009).

A likelihood ratio by sample: was it learned and unlearned, or never learned? Rows of all arrays are runs, columns are
samples. Each run is attacked with Gaussians that are fitted without it. Which samples a run forgets and learns must be
drawn for each run on its own, so that how many others have a sample says nothing about this one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..metrics.membership import auc, margin, tpr_at
from .thresholds import Array

LEAST_VARIANCE = 1e-6
POOLED_BELOW = 16  # observations of a sample; with fewer, its own variance is too rough


@dataclass(frozen=True)
class Attack:
    """The success of an attack, a value per attacked run: fractions in [0, 1]; accuracy and AUC of a guess are .5.

    The runs share their shadow models, so the spread over them understates the uncertainty of the mean: by a factor of
    1.7 with 8 runs and of 1.5 with 32, by simulation.
    """

    accuracy: Array  # of the two kinds alike
    auc: Array
    tpr: Array  # at a false positive rate of 1 %
    others: float  # samples of the other kind that a run is judged by, in the median
    samples: int  # those with a score in any run
    observations: float  # of an unlearned sample, in the median


def margins(logits: Array, labels: Array) -> Array:
    """(N,) float64 logit-scaled confidences ``ln p_y - ln(1 - p_y)`` of (N, C) logits."""
    return margin(torch.from_numpy(logits).double(), torch.from_numpy(labels)).numpy()


def log_densities(targets: Array, values: Array, used: Array, pooled: bool = False) -> Array:
    """(K, S) the log density of each target under the Gaussian of its sample, fitted to the other runs.

    Args:
        targets: (K, S) what is to be judged.
        values: (K, S) the observations.
        used: (K, S) which of them there are.
        pooled: use one variance for all samples, around a mean for each.

    NaN where the other runs have fewer than two observations of a sample.
    """
    centre = (np.where(used, values, 0.0).sum(0)) / np.maximum(used.sum(0), 1)  # against cancellation below
    x = np.where(used, values - centre, 0.0)
    square = x * x
    n = used.sum(0) - used
    enough = n >= 2
    count = np.where(enough, n, 2)
    mean = (x.sum(0) - x) / count
    scatter = np.where(enough, square.sum(0) - square - count * mean * mean, 0.0)
    if pooled:
        variance = scatter.sum(1, keepdims=True) / np.maximum(np.where(enough, n - 1, 0).sum(1, keepdims=True), 1)
    else:
        variance = scatter / (count - 1)
    variance = np.maximum(variance, LEAST_VARIANCE)
    density = -0.5 * (np.log(2 * np.pi * variance) + (targets - centre - mean) ** 2 / variance)
    return np.where(enough, density, np.nan)


def log_ratios(targets: Array, member: tuple[Array, Array], other: tuple[Array, Array], pooled: bool) -> Array:
    """(K, S) ``ln p / (1 - p)`` with ``p = N_f / (N_f + N_n)``: positive where a target looks unlearned.

    Args:
        targets: (K, S).
        member, other: the observations of both kinds, and which there are, as in ``log_densities``.
        pooled: as there.
    """
    return log_densities(targets, *member, pooled) - log_densities(targets, *other, pooled)


def efficacy(unlearned: Array, retrained: Array, forget: Array, unknown: Array, pooled: bool | None = None) -> Attack:
    """Can a sample that a model unlearned be told from the same sample in the model retrained without it?

    Args:
        unlearned, retrained: (K, S) margins.
        forget: (K, S) whether a run forgets a sample.
        unknown: (K, S) whether its retrained model has not learned it.
        pooled: as in ``log_densities``; None decides by the number of observations.
    """
    pooled = few(forget) if pooled is None else pooled
    pair = (unlearned, forget), (retrained, unknown)
    members, others = (log_ratios(targets, *pair, pooled) for targets in (unlearned, retrained))
    return success(members, forget, others, forget)


def privacy(unlearned: Array, forget: Array, unseen: Array, pooled: bool | None = None) -> Attack:
    """Can a sample that an unlearned model forgot be told from one that it never saw?

    Args:
        unlearned: (K, S) margins.
        forget: (K, S) whether a run forgets a sample.
        unseen: (K, S) whether the run's original model has not learned it.
        pooled: as in ``efficacy``.
    """
    pooled = few(forget) if pooled is None else pooled
    scores = log_ratios(unlearned, (unlearned, forget), (unlearned, unseen), pooled)
    return success(scores, forget, scores, unseen)


def few(forget: Array) -> bool:
    """Whether most samples have too few observations for a variance of their own."""
    return observed(forget) < POOLED_BELOW


def observed(forget: Array) -> float:
    """The median number of runs that forget a sample, of those that any forgets."""
    counts = forget.sum(0)
    return float(np.median(counts[counts > 0])) if counts.any() else 0.0


def success(members: Array, of_members: Array, others: Array, of_others: Array) -> Attack:
    """The success of an attack, run by run.

    Values of several runs are not pooled: a score depends on the runs that the Gaussians were fitted to, and an AUC
    over runs would be below .5 where there is nothing to find.

    Args:
        members, others: (K, S) scores of both kinds; NaN where there is none.
        of_members, of_others: (K, S) which of them count.
    """
    found = []
    used = of_members & np.isfinite(members)
    for k in range(len(members)):
        ours = torch.from_numpy(members[k][used[k]])
        theirs = torch.from_numpy(others[k][of_others[k] & np.isfinite(others[k])])
        if len(ours) and len(theirs):
            right = [((side > 0).double() + (side == 0).double() / 2).mean().item() for side in (ours, -theirs)]
            found.append((sum(right) / 2, auc(ours, theirs), tpr_at(ours, theirs, 0.01), len(theirs)))
    accuracy, area, tpr, judged = np.array(found).reshape(len(found), 4).T
    judged_by = float(np.median(judged)) if found else 0.0
    return Attack(accuracy, area, tpr, judged_by, int(used.any(0).sum()), observed(of_members))


def memorisation(original: Array, learned: Array) -> Array:
    """(S,) how much more confident of a sample's label the original models are that learned it (Feldman, 2020).

    The mean probability of the label over the models that learned the sample, less that over those that did not; NaN
    where either kind is missing.

    Args:
        original: (K, S) margins.
        learned: (K, S) which model learned which sample.
    """
    confidence = 1 / (1 + np.exp(-np.clip(original, -500, 500)))
    with np.errstate(invalid="ignore"):
        return (confidence * learned).sum(0) / learned.sum(0) - (confidence * ~learned).sum(0) / (~learned).sum(0)
