"""Whether a model knows no more about the forget set than one that was never trained."""

from ..losses import js_divergence
from .base import Evidence, Metric, given


class ZeroRetrainForgetting(Metric):
    """``zrf/forget = 1 - mean JS(model, untrained network)`` on the forget set.

    JS is the Jensen-Shannon divergence in nats, 0 to ln 2, so the score lies between 1 - ln 2 = .307 and 1. Closer to
    the retrained model is better. No score is good by itself: a retrained model generalises to the forget set, and a
    score of 1 would reveal what was forgotten. The untrained network has the architecture of the original and is the
    same for all models of a table.

    Source: Chundawat et al., 2023, arXiv:2205.08096. Their code divides a one-sided divergence by the number of
    classes, so its values are not comparable.
    """

    directions = {"zrf/forget": "to-retrained"}
    needs = ("untrained",)

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        ids = evidence.split.forget
        divergence = js_divergence(evidence.logits[ids].double(), given(evidence.untrained)[ids].double())
        return {"zrf/forget": 1 - divergence.mean().item()}
