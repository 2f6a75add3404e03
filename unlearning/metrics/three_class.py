"""Does unlearning expose the samples that are kept? An attack that tells forgotten, retained and unseen samples."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from ..types import Count, Several
from .base import Evidence, Metric, given
from .features import drawn
from .membership import auc, entropy, margin, modified_entropy, non_members, require_two


class ThreeClassAttack(Metric):
    """Tell samples of the forget set, of the retain set and unseen ones from the outputs before and after unlearning.

    A change that is meant for the forget set can set the retain set apart, too (TC-UMIA, arXiv:2605.01129). The attack
    is a multinomial logistic regression on the margin, the entropy and the modified entropy of a sample's prediction
    (see ``membership``) by this model and by the original, cross-validated. It gets as many samples of each kind, at
    most ``limit``, drawn at random.

    * ``tcmia/acc``: accuracy over the three kinds; 1/3 says that they cannot be told apart.
    * ``tcmia/retain_auc``: area under the ROC curve of retained against unseen samples by the attack's odds of the two;
      above the retrained model's value, unlearning exposes the retain set.
    * ``tcmia/forget_auc``: the same of forgotten against unseen samples of their kind, where the scenario has one.

    Closer to the retrained model is better for all: it shows as well what it was trained on. Unseen samples are test
    samples, half of them of the forgotten kind where there is one, and retained ones are compared with the other half.

    Args:
        limit: samples of each kind.
        folds: of the cross-validation.
        seed: of the folds.

    Raises ``ValueError`` where a kind has fewer samples than there are folds.
    """

    directions = {"tcmia/*": "to-retrained"}

    def __init__(self, limit: Count = 1000, folds: Several = 5, seed: int = 0) -> None:
        self.limit, self.folds, self.seed = limit, folds, seed

    def applies_to(self, evidence: Evidence) -> bool:
        return super().applies_to(evidence) and evidence.original is not None

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        split = evidence.split
        alike, others = non_members(split), split.test_retain
        count = min(self.limit, len(split.forget), len(split.retain), len(split.test))
        if len(split.test_forget):
            count = min(count, 2 * len(alike), 2 * len(others))
            unseen = torch.cat([drawn(others, (count + 1) // 2), drawn(alike, count // 2)])
        else:
            unseen = drawn(split.test, count)
        if count < self.folds:
            raise ValueError(f"the smallest kind has {count} samples, fewer than there are folds, {self.folds}")
        ids = torch.cat([drawn(split.forget, count), drawn(split.retain, count), unseen])
        kinds = np.repeat(np.arange(3), count)
        shares = self.shares(evidence, ids, kinds)
        odds = shares[:, :2] - shares[:, 2:]  # of forgotten and of retained against unseen
        forget, retain, rest = odds.split(count)
        kind = torch.isin(unseen, alike)
        kept = ~kind if len(split.test_forget) else kind
        found = {"tcmia/acc": float((shares.argmax(1).numpy() == kinds).mean())}
        for name, column, members, mine in (("retain", 1, retain, kept), ("forget", 0, forget, kind)):
            require_two(members, rest[mine])
            found[f"tcmia/{name}_auc"] = auc(members[:, column], rest[mine][:, column])
        return found

    def shares(self, evidence: Evidence, ids: Tensor, kinds: np.ndarray) -> Tensor:
        """(len(ids), 3) log-probabilities of the kinds, for samples that the attack was not fitted to."""
        labels, seen = evidence.labels[ids], []
        for logits in (evidence.logits, given(evidence.original)):
            seen += [feature(logits[ids].double(), labels) for feature in (margin, entropy, modified_entropy)]
        attack = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        folds = StratifiedKFold(self.folds, shuffle=True, random_state=self.seed)
        found = cross_val_predict(attack, torch.stack(seen, 1).numpy(), kinds, cv=folds, method="predict_log_proba")
        return torch.from_numpy(found)
