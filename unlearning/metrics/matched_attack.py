"""Membership inference from the loss, with as many non-members as members in every class."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit
from torch import Tensor

from ..types import Count, PartialFraction, Positive
from .base import Evidence, Metric
from .membership import loss, non_members, require_two


class MatchedLossAttack(Metric):
    """``mia/matched_loss_acc`` and ``mia/matched_loss_acc_sd``: accuracy of a class-matched attack by the loss.

    A logistic regression on the cross-entropy, clipped at +-``clip``, separates the forget set from unseen test
    samples. Of every class it gets as many of the one as of the other, so that no class gives a sample away. It is
    fitted on a part of them and judged on the rest, for each of several shuffles that are stratified by membership:
    the mean, and the standard deviation over the shuffles (which have samples in common, so it is no standard error of
    the mean). An accuracy of .5 says that the two cannot be told apart; closer to the retrained model is better.

    Non-members are of the forgotten kind where the scenario has one (see ``membership.non_members``). The attack is
    that of the Langevin unlearning study (arXiv:2505.21872) and of SCRUB (Kurmanji et al., 2023, arXiv:2302.09880).

    Args:
        shuffles: how often samples are divided anew.
        held_out: the fraction on which the attack is judged, at least two samples.
        clip: largest absolute value of a loss.
        seed: of the draw of samples and of the shuffles.

    Raises ``ValueError`` where no two members have non-members of their classes.
    """

    directions = {"mia/matched_loss_acc": "to-retrained", "mia/matched_loss_acc_sd": "down"}

    def __init__(
        self, shuffles: Count = 5, held_out: PartialFraction = 0.1, clip: Positive = 100.0, seed: int = 0
    ) -> None:
        self.shuffles, self.held_out, self.clip, self.seed = shuffles, held_out, clip, seed

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        members, others = class_matched(evidence.labels, evidence.split.forget, non_members(evidence.split), self.seed)
        require_two(members, others)
        ids = torch.cat([members, others])
        values = loss(evidence.logits[ids].double(), evidence.labels[ids]).clamp(-self.clip, self.clip)
        features, membership = values.unsqueeze(-1).numpy(), np.arange(len(ids)) < len(members)
        judged = max(2, round(self.held_out * len(ids)))
        shuffles = StratifiedShuffleSplit(self.shuffles, test_size=judged, random_state=self.seed)
        found = [
            LogisticRegression().fit(features[fit], membership[fit]).score(features[rest], membership[rest])
            for fit, rest in shuffles.split(features, membership)
        ]
        return {"mia/matched_loss_acc": float(np.mean(found)), "mia/matched_loss_acc_sd": float(np.std(found))}


def class_matched(
    labels: Tensor, members: Tensor, others: Tensor, seed: int, limit: int | None = None
) -> tuple[Tensor, Tensor]:
    """Ids of members and of non-members, of each class as many of both, drawn from what there are more of.

    Args:
        labels: (N,) of all samples.
        members, others: ids to draw from.
        seed: of the draw.
        limit: at most this number of both; each class has the same part of it, one sample at least.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn: tuple[list[Tensor], list[Tensor]] = ([], [])
    numbers = labels[members].unique().tolist()
    for number in numbers:
        pools = [ids[labels[ids] == number] for ids in (members, others)]
        count = min(map(len, pools))
        if limit is not None:
            count = min(count, max(limit // len(numbers), 1))
        for pool, found in zip(pools, drawn, strict=True):
            found.append(pool[torch.randperm(len(pool), generator=generator)[:count]])
    return torch.cat(drawn[0]), torch.cat(drawn[1])
