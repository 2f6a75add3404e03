"""Membership inference by a classifier fitted to known members and non-members, as older papers report it.

Members are retain samples and non-members are test samples of every class, whatever the scenario. Where a whole class
is forgotten, only the non-members have it, so features that show the class (the probability vector) call it non-member
for any model, including the original: compare a value with the retrained model's *and* the original's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC
from torch import Tensor

from ..types import Count
from .base import Evidence, Metric
from .membership import confidence, entropy, modified_entropy, require_two


class EntropyLogistic(Metric):
    """``mia/entropy_logistic``: fraction of the forget set that a logistic regression on entropy calls *member*.

    It is fitted on the retain set (members) against test (non-members), with balanced class weights: the attack of the
    SSD and JiT papers (Foster et al., 2024). A value of 1 says that all of the forget set looks trained on; closer to
    the retrained model is better.

    Raises ``ValueError`` with fewer than two members or non-members.
    """

    directions = {"mia/entropy_logistic": "to-retrained"}

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        split = evidence.split
        require_two(split.retain, split.test)
        members, others, forget = (
            entropy(evidence.logits[ids].double(), evidence.labels[ids]).unsqueeze(-1)
            for ids in (split.retain, split.test, split.forget)
        )
        membership = np.arange(len(members) + len(others)) < len(members)
        attack = LogisticRegression(class_weight="balanced").fit(torch.cat((members, others)).numpy(), membership)
        return {"mia/entropy_logistic": float(attack.predict(forget.numpy()).mean())}


SVC_FEATURES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "correctness": lambda logits, labels: (logits.argmax(-1) == labels).double(),
    "confidence": confidence,
    "entropy": entropy,
    "modified_entropy": modified_entropy,
    "probability": lambda logits, labels: logits.softmax(-1),
}


class SVCMembership(Metric):
    """Fractions of the forget set that a support vector classifier calls member and non-member, by five features.

    * ``mia/svc_<feature>_nonmember``: fraction of the forget set called *non-member*, the "MIA efficacy" of the papers;
      1 says that none of it looks trained on.
    * ``mia/svc_<feature>_member``: fraction called *member*, 1 minus the former, like ``mia/entropy_logistic``.

    Closer to the retrained model is better for both. It is the attack of the SalUn and l1-sparse papers (Jia et al.,
    2023, arXiv:2304.04934; features of Song & Mittal, 2021, arXiv:2003.10595): C = 3, RBF kernel, gamma 1 / (number of
    feature dimensions), fitted on equal numbers of retain (members) and test samples (non-members).

    Args:
        limit: at most this number of members and of non-members is drawn, because the fit is quadratic in it.
        seed: of the draw.

    Raises ``ValueError`` with fewer than two members or non-members.
    """

    directions = {"mia/svc_*": "to-retrained"}

    def __init__(self, limit: Count = 1000, seed: int = 0) -> None:
        self.limit, self.seed = limit, seed

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        split = evidence.split
        require_two(split.retain, split.test)
        count = min(self.limit, len(split.retain), len(split.test))
        generator = torch.Generator().manual_seed(self.seed)
        drawn = [ids[torch.randperm(len(ids), generator=generator)[:count]] for ids in (split.retain, split.test)]
        known, membership = torch.cat(drawn), np.arange(2 * count) < count
        found: dict[str, float] = {}
        for name, feature in SVC_FEATURES.items():
            fit, forget = (
                feature(evidence.logits[ids].double(), evidence.labels[ids]).reshape(len(ids), -1).numpy()
                for ids in (known, split.forget)
            )
            attack = SVC(C=3, kernel="rbf", gamma="auto").fit(fit, membership)
            members = float(attack.predict(forget).mean())
            found |= {f"mia/svc_{name}_nonmember": 1 - members, f"mia/svc_{name}_member": members}
        return found
