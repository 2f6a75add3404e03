"""Membership inference by thresholding one number per sample: does the forget set still look like training data?

The features follow Yeom et al. (2018, arXiv:1709.01604), Song & Mittal (2021, arXiv:2003.10595) and Carlini et al.
(2022, arXiv:2112.03570). Each maps logits (N, C) and labels (N,) to (N,). They expect float64 and avoid ``1 - p``,
because the confident samples, for which p rounds to 1, are those that distinguish members from non-members.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ..types import PartialFraction, Split
from .base import Evidence, Metric

Feature = Literal["loss", "confidence", "entropy", "modified_entropy", "margin"]


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Logit-scaled confidence ``ln p_y - ln(1 - p_y) = z_y - logsumexp_{i != y} z_i``."""
    label = labels.unsqueeze(-1)
    others = logits.scatter(-1, label, -torch.inf).logsumexp(-1)
    return logits.gather(-1, label).squeeze(-1) - others


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy ``-ln p_y``."""
    return -F.logsigmoid(margin(logits, labels))


def confidence(logits: Tensor, labels: Tensor) -> Tensor:
    """Probability ``p_y`` of the label."""
    return margin(logits, labels).sigmoid()


def entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Entropy ``-sum_i p_i ln p_i`` of the prediction, in nats; it does not depend on the label."""
    return torch.special.entr(logits.softmax(-1)).sum(-1)


def modified_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """``-(1 - p_y) ln p_y - sum_{i != y} p_i ln(1 - p_i)`` (Song & Mittal, 2021); 0 if certain and correct."""
    log_p, label = logits.log_softmax(-1), labels.unsqueeze(-1)
    top = logits.argmax(-1, keepdim=True)
    rest = log_p.scatter(-1, top, -torch.inf).logsumexp(-1, keepdim=True)
    log_not_p = torch.log1p(-log_p.exp()).scatter(-1, top, rest)  # only the largest p can be near 1
    of_label = log_not_p.gather(-1, label).exp() * log_p.gather(-1, label)
    of_others = (log_p.exp() * log_not_p).scatter(-1, label, 0).sum(-1)
    return -of_label.squeeze(-1) - of_others


FEATURES: dict[Feature, Callable[[Tensor, Tensor], Tensor]] = {
    "loss": loss,
    "confidence": confidence,
    "entropy": entropy,
    "modified_entropy": modified_entropy,
    "margin": margin,
}
LOW_FOR_MEMBERS = {"loss", "entropy", "modified_entropy"}


def member_score(feature: Feature, logits: Tensor, labels: Tensor) -> Tensor:
    """The named feature, (N,) float64, with its sign chosen so that higher means more like a member."""
    values = FEATURES[feature](logits.double(), labels)
    return -values if feature in LOW_FOR_MEMBERS else values


def non_members(split: Split) -> Tensor:
    """Ids of the test samples that the forget set is compared with: those of its kind, where the scenario has a kind.

    In comparison with the whole of test, even a perfectly retrained model would seem to leak (or the reverse): it is
    bad on a class that it has not seen, for members and non-members alike.
    """
    return split.test_forget if split.forget_classes or len(split.test_forget) else split.test


def unseen_alike(evidence: Evidence) -> Tensor:
    """Ids of the validation samples of the classes that occur in the forget set."""
    ids, labels = evidence.split.validation, evidence.labels
    return ids[torch.isin(labels[ids], labels[evidence.split.forget])]


def require_two(members: Tensor, others: Tensor) -> None:
    """Raise ``ValueError`` unless there are at least two members and two non-members."""
    if len(members) < 2 or len(others) < 2:
        raise ValueError(
            f"membership inference needs at least 2 members and 2 non-members, not {len(members)} and {len(others)}: "
            "hold out samples that the model has not learned, such as images in folders test/ and validation/"
        )


def auc(members: Tensor, others: Tensor) -> float:
    """Area under the ROC curve: P(member scores higher) + P(tie) / 2, exact over all pairs of (M,) and (N,) scores."""
    return aucs(members, others.sort().values).item()


def aucs(members: Tensor, ordered: Tensor) -> Tensor:
    """(...) areas under the ROC curve of scores (..., M) of members and (..., N) of non-members in ascending order."""
    members = members.contiguous()
    lower = torch.searchsorted(ordered, members)
    lower_or_tied = torch.searchsorted(ordered, members, right=True)
    return (lower + lower_or_tied).double().mean(-1) / (2 * ordered.shape[-1])


def tpr_at(members: Tensor, others: Tensor, fpr: float) -> float:
    """Largest fraction of members above a threshold that at most the fraction ``fpr`` of non-members exceeds."""
    return tprs(members, others.sort().values, fpr).item()


def tprs(members: Tensor, ordered: Tensor, fpr: float) -> Tensor:
    """(...) the rates of ``tpr_at`` for scores (..., M) of members and (..., N) of non-members in ascending order."""
    allowed = int(fpr * ordered.shape[-1] + 1e-9)  # .29 * 100 is 28.999...
    return (members > ordered[..., -1 - allowed, None]).double().mean(-1)


def can_show(fpr: float, others: int) -> bool:
    """Whether so many non-members can show a false positive rate: at least one of them is in that fraction."""
    return others * fpr >= 1 - 1e-9


def too_few(names: Sequence[str], fprs: Sequence[float], others: int) -> dict[str, tuple[int, int]]:
    """The rates of true positives that so many non-members cannot show, by name: how many there are, and the least."""
    least = {fpr: math.ceil(1 / fpr - 1e-9) for fpr in fprs if not can_show(fpr, others)}
    return {f"{name}_{rate(fpr)}": (others, count) for name in names for fpr, count in least.items()}


def rate(fpr: float) -> str:
    """The end of the name of a rate of true positives."""
    return f"tpr_at_{100 * fpr:g}pct"


class MembershipInference(Metric):
    """Threshold attacks on the forget set (members) against unseen test samples (non-members).

    * ``mia/<feature>_auc``: area under the ROC curve, in [0, 1].
    * ``mia/<feature>_tpr_at_<fpr>``: fraction of the forget set that is recognised when at most that fraction of
      non-members is mistaken for members (Carlini et al., 2022, arXiv:2112.03570). N non-members cannot show a rate
      below 1/N: with fewer than 100 of them there is no number at 1 %, and with fewer than 1,000 none at .1 %.

    Closer to the retrained model is better; its AUC is about .5. A score always has the sign for which higher means
    more like training data. An AUC above .5 says that the forget set still looks trained on, below .5 that it looks
    *less* familiar than unseen data, which reveals it as well.

    Non-members are of the forgotten kind where the scenario has one (see ``non_members``). Loss, confidence and margin
    are increasing functions of one another, so their numbers agree; the entropies add information.

    Args:
        features: the numbers that are thresholded.
        fprs: false positive rates for ``tpr_at``.

    Raises ``ValueError`` with fewer than two members or non-members.
    """

    directions = {"mia/*_auc": "to-retrained", "mia/*_tpr_at_*": "to-retrained"}

    def __init__(
        self, features: Sequence[Feature] = ("loss", "entropy"), fprs: Sequence[PartialFraction] = (0.01,)
    ) -> None:
        self.features, self.fprs = tuple(features), tuple(fprs)

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        sets = evidence.split.forget, non_members(evidence.split)
        require_two(*sets)
        found = {}
        for feature in self.features:
            members, others = (member_score(feature, evidence.logits[ids], evidence.labels[ids]) for ids in sets)
            found[f"mia/{feature}_auc"] = auc(members, others)
            for fpr in self.fprs:
                if can_show(fpr, len(others)):
                    found[f"mia/{feature}_{rate(fpr)}"] = tpr_at(members, others, fpr)
        return found

    def unstated(self, evidence: Evidence) -> dict[str, tuple[int, int]]:
        names = [f"mia/{feature}" for feature in self.features]
        return too_few(names, self.fprs, len(non_members(evidence.split)))


class ValidationMembership(Metric):
    """``val/loss_auc``: the attack on the loss with validation samples as non-members, for choices of settings.

    Members are the forget set, non-members the validation samples of the classes that occur in it. Closer to the
    retrained model is better, as for ``mia/loss_auc``.

    Raises ``ValueError`` with fewer than two members or non-members.
    """

    directions = {"val/loss_auc": "to-retrained"}
    needs = ("validation",)

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        sets = evidence.split.forget, unseen_alike(evidence)
        require_two(*sets)
        scores = (member_score("loss", evidence.logits[ids], evidence.labels[ids]) for ids in sets)
        return {"val/loss_auc": auc(*scores)}
