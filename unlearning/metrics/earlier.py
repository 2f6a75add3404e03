"""Whether what earlier requests had forgotten is still forgotten."""

from __future__ import annotations

from .base import Evidence, Metric, given
from .membership import auc, member_score

FEWEST = 2  # samples on each side of an attack


class EarlierRequests(Metric):
    """``earlier/acc`` and ``earlier/loss_auc``: accuracy, and a membership attack, on what earlier requests forgot.

    Unlearning on a request can bring back what was forgotten for another, since the method does not see these samples
    any more. ``earlier/loss_auc`` is the area under the ROC curve of the attack by the loss (as ``mia/loss_auc``),
    between the samples of all earlier requests and the whole test set. Where these were of few classes, that is not .5
    without a trace of them: closer to the retrained model, which never saw them, is better.

    There is no AUC with fewer than two of these samples, or of the test set.
    """

    directions = {"earlier/acc": "to-retrained", "earlier/loss_auc": "to-retrained"}
    needs = ("earlier",)

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        logits, labels, sets = evidence.logits, evidence.labels, (given(evidence.earlier), evidence.split.test)
        right = logits[sets[0]].argmax(-1) == labels[sets[0]]
        found = {"earlier/acc": right.double().mean().item()}
        if min(map(len, sets)) >= FEWEST:
            found["earlier/loss_auc"] = auc(*(member_score("loss", logits[ids], labels[ids]) for ids in sets))
        return found
