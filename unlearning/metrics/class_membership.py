"""Does a forgotten class still show in the probabilities of the classes that are left?"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from ..types import Several
from .base import Evidence, Metric, given


class ClassMembership(Metric):
    """Tell the forgotten class's samples as this model sees them from how the retrained model sees them.

    Only the probabilities of the classes that are left are looked at, scaled to a sum of 1, so a model cannot hide by
    suppressing the forgotten class alone: a model that never saw an automobile takes it for a truck, while most
    unlearned models do not (CMIA: Ebrahimpour-Boroojeny et al., ICML 2026, arXiv:2506.20893). Over the forget set:

    * ``cmia/auc``: area under the ROC curve of a logistic regression on the log-probabilities, cross-validated. A
      sample is seen by both models, and both views of it are in the same fold. A value of .5 says that the two models
      cannot be told apart, 1 that every sample gives the unlearned model away; chance can lead below .5.
    * ``cmia/tv``: total variation between the two models' mean probabilities, 0 to 1, the mean over forgotten classes
      weighted by their samples.

    Lower is better for both. Another retrained model is no zero: ``method=retrain`` gives the noise floor.

    Args:
        folds: of the cross-validation.

    Raises ``ValueError`` where fewer than two classes are left, or fewer samples are forgotten than there are folds.
    """

    directions = {"cmia/*": "down"}
    needs = ("retrained", "class")

    def __init__(self, folds: Several = 5) -> None:
        self.folds = folds

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        forget, forgotten = evidence.split.forget, evidence.split.forget_classes
        rest = [c for c in range(evidence.logits.shape[1]) if c not in forgotten]
        if len(rest) < 2:
            raise ValueError(f"at least two classes must be left, not {len(rest)}")
        if len(forget) < self.folds:
            raise ValueError(f"at least {self.folds} samples must be forgotten, one for each fold, not {len(forget)}")
        ours, theirs = (
            logits[forget][:, rest].double().log_softmax(-1) for logits in (evidence.logits, given(evidence.retrained))
        )
        return {"cmia/auc": self.auc(ours, theirs), "cmia/tv": variation(ours, theirs, evidence.labels[forget])}

    def auc(self, ours: Tensor, theirs: Tensor) -> float:
        """That of the attack, given the (N, C) log-probabilities of both models for the same samples."""
        folds = np.tile(np.arange(len(ours)) % self.folds, 2)
        is_ours = np.repeat([1, 0], len(ours))
        attack = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        scores = cross_val_predict(
            attack,
            torch.cat([ours, theirs]).numpy(),
            is_ours,
            cv=PredefinedSplit(folds),
            method="decision_function",
        )
        return float(roc_auc_score(is_ours, scores))


def variation(ours: Tensor, theirs: Tensor, labels: Tensor) -> float:
    """Total variation between the mean probabilities of both models, by class of ``labels`` (N,), averaged."""
    found = 0.0
    for label in labels.unique():
        mine = labels == label
        means = [logs[mine].exp().mean(0) for logs in (ours, theirs)]
        found += (means[0] - means[1]).abs().sum().item() / 2 * mine.double().mean().item()
    return found
