"""Membership inference by classifiers that are fitted to a part of the forget set, with matched classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import Tensor

from ..types import Count, Several
from .base import Evidence, Metric
from .matched_attack import class_matched
from .membership import FEATURES, auc, member_score, non_members

Input = Literal["loss", "confidence", "entropy", "modified_entropy", "margin", "probability"]
Attacker = Literal["threshold", "logistic", "svc"]
THRESHOLDED = ("loss", "entropy", "modified_entropy")
INPUTS: tuple[Input, ...] = (*FEATURES, "probability")
FITTED: dict[str, Callable[[], Any]] = {
    "logistic": lambda: LogisticRegression(max_iter=1000),
    "svc": lambda: SVC(C=3, kernel="rbf", gamma="scale"),
}


class FittedAttacks(Metric):
    """``attack/<attacker>_<input>_auc``: every attacker on every input, cross-validated, the classes matched.

    Members are samples of the forget set, and non-members test samples of its kind (see ``membership.non_members``); of
    every class there are as many of the one as of the other, so that no class gives a sample away. The inputs are the
    loss, the confidence, the entropy, the modified entropy, the margin, and the whole vector of probabilities. The
    attackers are a ``threshold``, which needs no fit, on the loss and the entropies (on confidence and margin, which
    order samples as the loss does, it would be the same, and a vector has no order); a ``logistic`` regression; and a
    support vector classifier (``svc``, C = 3, RBF kernel). The latter two are fitted to standardised inputs of all
    folds but one, and judged on that fold; a member and a non-member of its class are in the same fold.

    The area under the ROC curve is a mean over the folds, for the scores of different fits are not comparable. A value
    of .5 says that an attacker cannot tell the two apart; closer to the retrained model is better. A classifier, unlike
    a threshold, also finds a forget set that looks *less* familiar than unseen samples: its AUC is above .5 then, too.
    With few members the fits are rough and their values scatter: those of ``method=retrain`` show how much.

    Args:
        inputs: what an attacker sees.
        attackers: who sees it.
        limit: members at most, and as many non-members.
        folds: of the cross-validation.
        seed: of the draw of samples.

    Raises ``ValueError`` where fewer members have a non-member of their class than there are folds.
    """

    directions = {"attack/*": "to-retrained"}

    def __init__(
        self,
        inputs: Sequence[Input] = INPUTS,
        attackers: Sequence[Attacker] = ("threshold", "logistic", "svc"),
        limit: Count = 500,
        folds: Several = 5,
        seed: int = 0,
    ) -> None:
        self.inputs, self.attackers, self.limit = tuple(inputs), tuple(attackers), limit
        self.folds, self.seed = folds, seed

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        split, labels = evidence.split, evidence.labels
        members, others = class_matched(labels, split.forget, non_members(split), self.seed, self.limit)
        if len(members) < self.folds:
            raise ValueError(f"{len(members)} members have a non-member of their class, fewer than {self.folds} folds")
        ids, known = torch.cat([members, others]), np.arange(2 * len(members)) < len(members)
        fold = np.tile(np.arange(len(members)) % self.folds, 2)  # with a member goes a non-member of its class
        parts = [(fold != number, fold == number) for number in range(self.folds)]
        found = {}
        for name in self.inputs:
            values = seen(name, evidence.logits[ids], labels[ids])
            for attacker in self.attackers:
                if attacker != "threshold":
                    areas = [self.area(FITTED[attacker](), values, known, *part) for part in parts]
                elif name != "probability" and name in THRESHOLDED:  # the former tells mypy the type
                    scores = member_score(name, evidence.logits[ids], labels[ids])
                    areas = [auc(scores[rest][known[rest]], scores[rest][~known[rest]]) for _, rest in parts]
                else:
                    continue
                found[f"attack/{attacker}_{name}_auc"] = float(np.mean(areas))
        return found

    def area(self, attack: Any, values: Tensor, known: np.ndarray, fit: np.ndarray, rest: np.ndarray) -> float:
        """The area under the ROC curve on the samples ``rest`` of an attack that is fitted to the samples ``fit``."""
        fitted = make_pipeline(StandardScaler(), attack).fit(values[fit].numpy(), known[fit])
        scores = torch.from_numpy(fitted.decision_function(values[rest].numpy()))
        return auc(scores[known[rest]], scores[~known[rest]])


def seen(name: Input, logits: Tensor, labels: Tensor) -> Tensor:
    """(N, D) float64, what an attacker sees of each sample."""
    if name == "probability":
        return logits.double().softmax(-1)
    return FEATURES[name](logits.double(), labels).unsqueeze(-1)
