"""Membership inference by classifiers that are fitted to a part of the forget set, with matched classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import Tensor

from ..types import Count, PartialFraction, Several
from .base import Evidence, Metric
from .bootstrap import interval
from .matched_attack import class_matched
from .membership import FEATURES, Feature, auc, can_show, member_score, non_members, rate, too_few, tpr_at

Input = Literal["loss", "confidence", "entropy", "modified_entropy", "margin", "probability"]
Attacker = Literal["threshold", "logistic", "svc"]
THRESHOLDED = ("loss", "entropy", "modified_entropy")
INPUTS: tuple[Input, ...] = (*FEATURES, "probability")
SAME = 1e-9  # standard deviation of scores that differ by rounding alone
FITTED: dict[str, Callable[[], Any]] = {
    "logistic": lambda: LogisticRegression(max_iter=1000),
    "svc": lambda: SVC(C=3, kernel="rbf", gamma="scale"),
}


class FittedAttacks(Metric):
    """``attack/<attacker>_<input>_auc``, ``..._tpr_at_<fpr>``: every attacker on every input, with matched classes.

    Members are samples of the forget set, and non-members test samples of its kind (see ``membership.non_members``); of
    every class there are as many of the one as of the other, so that no class gives a sample away. The inputs are the
    loss, the confidence, the entropy, the modified entropy, the margin, and the whole vector of probabilities. The
    attackers are a ``threshold``, which needs no fit, on the loss and the entropies (on confidence and margin, which
    order samples as the loss does, it would be the same, and a vector has no order); a ``logistic`` regression; and a
    support vector classifier (``svc``, C = 3, RBF kernel). The latter two are fitted to standardised inputs of all
    folds but one, and judged on that fold; a member and a non-member of its class are in the same fold.

    The scores of different fits have different units. So the scores of a fold are standardised by those that its fit
    gives to the non-members that it was fitted to, and the numbers are of the scores of all folds: the area under the
    ROC curve; the rates of true positives at rates of false ones, where there are enough non-members for these (see
    ``MembershipInference``); and of each, as ``..._low`` and ``..._high``, the interval of ``MembershipIntervals``,
    which is over samples and not over fits. An AUC of .5 says that an attacker cannot tell the two apart; closer to the
    retrained model is better. A classifier, unlike a threshold, also finds a forget set that looks *less* familiar than
    unseen samples: its AUC is above .5 then, too. With few members the fits are rough and their values scatter: those
    of ``method=retrain`` show how much.

    Args:
        inputs: what an attacker sees.
        attackers: who sees it.
        limit: members at most, and as many non-members.
        folds: of the cross-validation.
        fprs: false positive rates.
        level, resamples: of the intervals.
        seed: of the draws of samples.

    Raises ``ValueError`` where fewer members have a non-member of their class than there are folds.
    """

    directions = {"attack/*": "to-retrained"}

    def __init__(
        self,
        inputs: Sequence[Input] = INPUTS,
        attackers: Sequence[Attacker] = ("threshold", "logistic", "svc"),
        limit: Count = 500,
        folds: Several = 5,
        fprs: Sequence[PartialFraction] = (0.01, 0.001),
        level: PartialFraction = 0.95,
        resamples: Count = 400,
        seed: int = 0,
    ) -> None:
        self.inputs, self.attackers, self.limit = tuple(inputs), tuple(attackers), limit
        self.folds, self.seed = folds, seed
        self.fprs, self.level, self.resamples = tuple(fprs), level, resamples

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        members, others = self.sets(evidence)
        if len(members) < self.folds:
            raise ValueError(f"{len(members)} members have a non-member of their class, fewer than {self.folds} folds")
        ids, known = torch.cat([members, others]), np.arange(2 * len(members)) < len(members)
        fold = np.tile(np.arange(len(members)) % self.folds, 2)  # with a member goes a non-member of its class
        fprs = [fpr for fpr in self.fprs if can_show(fpr, len(others))]
        found: dict[str, float] = {}
        for attacker, name in self.pairs():
            logits, labels = evidence.logits[ids], evidence.labels[ids]
            if attacker == "threshold":
                scores = member_score(cast(Feature, name), logits, labels)
            else:
                scores = held_out(FITTED[attacker], seen(name, logits, labels).numpy(), known, fold)
            pair, start = (scores[known], scores[~known]), f"attack/{attacker}_{name}"
            found |= {f"{start}_auc": auc(*pair)} | {f"{start}_{rate(fpr)}": tpr_at(*pair, fpr) for fpr in fprs}
            found |= interval(start, *pair, fprs, self.level, self.resamples, self.seed)
        return found

    def pairs(self) -> list[tuple[Attacker, Input]]:
        """Who sees what."""
        return [(a, i) for i in self.inputs for a in self.attackers if a != "threshold" or i in THRESHOLDED]

    def sets(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        """The ids of the members, and of as many non-members."""
        split = evidence.split
        return class_matched(evidence.labels, split.forget, non_members(split), self.seed, self.limit)

    def unstated(self, evidence: Evidence) -> dict[str, tuple[int, int]]:
        return too_few(["attack/*"], self.fprs, len(self.sets(evidence)[1]))


def held_out(attack: Callable[[], Any], values: np.ndarray, known: np.ndarray, fold: np.ndarray) -> Tensor:
    """(N,) float64 scores by the fits to the other folds, in units of those of the non-members that they are fitted to.

    Args:
        attack: makes a classifier.
        values: (N, D) what it sees.
        known: (N,) whether a sample is a member.
        fold: (N,) the number of a sample's fold.
    """
    scores = np.empty(len(values))
    for number in range(fold.max() + 1):
        fit, rest = fold != number, fold == number
        fitted = make_pipeline(StandardScaler(), attack()).fit(values[fit], known[fit])
        usual = fitted.decision_function(values[fit & ~known])
        scores[rest] = (fitted.decision_function(values[rest]) - usual.mean()) / max(usual.std(), SAME)
    return torch.from_numpy(scores)


def seen(name: Input, logits: Tensor, labels: Tensor) -> Tensor:
    """(N, D) float64, what an attacker sees of each sample."""
    if name == "probability":
        return logits.double().softmax(-1)
    return FEATURES[name](logits.double(), labels).unsqueeze(-1)
