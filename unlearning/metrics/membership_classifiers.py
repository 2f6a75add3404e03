"""Membership inference by a classifier fitted to known members and non-members, as older papers report it.

Members are retain samples and non-members test samples of every class, whatever the scenario. Where a whole class is
forgotten only the non-members have it, so features that show the class (the probability vector) say non-member of any
model, the original included: read a value against the retrained model's *and* the original's.
"""

from collections.abc import Callable

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC
from torch import Tensor

from ..errors import require_at_least
from .base import Evidence, Metric
from .membership import confidence, entropy, modified_entropy, require_two


class EntropyLogistic(Metric):
    """``mia/entropy_logistic``: share of the forget set that a logistic regression on entropy calls *member*.

    Fitted in-sample on the retain set (members) against test (non-members), with balanced class weights; the attack of
    the SSD and JiT papers (Foster et al., 2024). Polarity: 1 says that all of the forget set looks trained on.

    Raises ValueError with fewer than two members or non-members.
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
    """Shares of the forget set that a support vector classifier calls member and non-member, by five features.

    * ``mia/svc_<feature>_nonmember``: share of the forget set called *non-member*, the "MIA efficacy" of the papers: 1
      says that none of it looks trained on.
    * ``mia/svc_<feature>_member``: share called *member*, 1 less the former; it has the polarity of
      ``mia/entropy_logistic``.

    The attack of the SalUn and l1-sparse papers (Jia et al., 2023; features of Song & Mittal, 2021): C = 3, RBF kernel,
    gamma 1 / (number of feature dimensions), fitted on equally many retain (members) and test samples (non-members).
    At most ``limit`` of each are drawn at random by ``seed``, because the fit is quadratic in them.

    Raises ValueError with fewer than two members or non-members.
    """

    directions = {"mia/svc_*": "to-retrained"}

    def __init__(self, limit: int = 1000, seed: int = 0) -> None:
        require_at_least(1, "evaluation.svc_membership", limit=limit)
        self.limit, self.seed = limit, seed

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        split = evidence.split
        require_two(split.retain, split.test)
        count = min(self.limit, len(split.retain), len(split.test))
        generator = torch.Generator().manual_seed(self.seed)
        drawn = [ids[torch.randperm(len(ids), generator=generator)[:count]] for ids in (split.retain, split.test)]
        known, membership = torch.cat(drawn), np.arange(2 * count) < count
        found = {}
        for name, feature in SVC_FEATURES.items():
            fit, forget = (
                feature(evidence.logits[ids].double(), evidence.labels[ids]).reshape(len(ids), -1).numpy()
                for ids in (known, split.forget)
            )
            attack = SVC(C=3, kernel="rbf", gamma="auto").fit(fit, membership)
            members = float(attack.predict(forget).mean())
            found |= {f"mia/svc_{name}_nonmember": 1 - members, f"mia/svc_{name}_member": members}
        return found
