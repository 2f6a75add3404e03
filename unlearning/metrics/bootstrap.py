"""How certain the numbers of an attack are: bootstrap intervals over the samples that it is judged by."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..types import Count, PartialFraction
from .base import Evidence
from .membership import (
    Feature,
    MembershipInference,
    aucs,
    can_show,
    member_score,
    non_members,
    rate,
    require_two,
    tpr_at,
    tprs,
)

TOGETHER = 2**20  # samples that are drawn before they are looked at


class MembershipIntervals(MembershipInference):
    """``mia/<feature>_auc_low``, ``..._high``: an interval for the numbers of ``MembershipInference``.

    The same, with the number itself, for ``mia/<feature>_tpr_at_<fpr>``, where there are at least ``1 / fpr``
    non-members: 100 for a rate of 1 %, and 1,000 for .1 %.

    Members and non-members are drawn anew with replacement, each as many as there are, and the ends are the percentiles
    of the number over these draws (Efron, 1979), in [0, 1]. So the interval says what other samples would give for the
    same model; what another model would give, the spread over seeds says. It is too narrow for few samples, and has no
    width where an attack makes no mistake.

    Args:
        features, fprs: as in ``MembershipInference``.
        level: the probability that the interval holds the value.
        resamples: draws.
        seed: of the draws.

    Raises ``ValueError`` with fewer than two members or non-members.
    """

    directions = {"mia/*_low": "to-retrained", "mia/*_high": "to-retrained", "mia/*_tpr_at_*": "to-retrained"}

    def __init__(
        self,
        features: Sequence[Feature] = ("loss", "entropy"),
        fprs: Sequence[PartialFraction] = (0.01, 0.001),
        level: PartialFraction = 0.95,
        resamples: Count = 400,
        seed: int = 0,
    ) -> None:
        super().__init__(features, fprs)
        self.level, self.resamples, self.seed = level, resamples, seed

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        sets = evidence.split.forget, non_members(evidence.split)
        require_two(*sets)
        fprs = [fpr for fpr in self.fprs if can_show(fpr, len(sets[1]))]
        found: dict[str, float] = {}
        for feature in self.features:
            members, others = (member_score(feature, evidence.logits[ids], evidence.labels[ids]) for ids in sets)
            found |= {f"mia/{feature}_{rate(fpr)}": tpr_at(members, others, fpr) for fpr in fprs}
            found |= interval(f"mia/{feature}", members, others, fprs, self.level, self.resamples, self.seed)
        return found


def interval(
    name: str, members: Tensor, others: Tensor, fprs: Sequence[float], level: float, resamples: int, seed: int
) -> dict[str, float]:
    """``<name>_auc_low``, ``..._high``, and the same of the rates of true positives, from the scores of an attack."""
    draws = resampled(members, others, fprs, resamples, seed)
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=draws.dtype)
    found: dict[str, float] = {}
    for what, (low, high) in zip(["auc", *map(rate, fprs)], draws.quantile(tails, 0).T.tolist(), strict=True):
        found |= {f"{name}_{what}_low": low, f"{name}_{what}_high": high}
    return found


def resampled(members: Tensor, others: Tensor, fprs: Sequence[float], resamples: int, seed: int) -> Tensor:
    """(resamples, 1 + len(fprs)) the AUC and the rates of true positives of scores that are drawn with replacement."""
    generator = torch.Generator().manual_seed(seed)
    at_once = max(1, TOGETHER // max(len(members), len(others)))
    rows = []
    for start in range(0, resamples, at_once):
        count = min(at_once, resamples - start)
        drawn = [
            [torch.randint(len(s), (len(s),), generator=generator) for s in (members, others)] for _ in range(count)
        ]
        ours = members[torch.stack([mine for mine, _ in drawn])]
        ordered = others[torch.stack([theirs for _, theirs in drawn])].sort().values
        rows.append(torch.stack([aucs(ours, ordered), *(tprs(ours, ordered, fpr) for fpr in fprs)], 1))
    return torch.cat(rows)
