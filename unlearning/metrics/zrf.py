"""Whether a model knows no more about the forget set than one that was never trained."""

from ..losses import js_divergence
from .base import Evidence, Metric


class ZeroRetrainForgetting(Metric):
    """``zrf/forget = 1 - mean JS(model, untrained network)`` on the forget set (Chundawat et al., 2023).

    JS is the Jensen-Shannon divergence in nats, 0 to ln 2, so the score lies between 1 - ln 2 = .307 and 1. The paper's
    code divides a one-sided divergence by the number of classes: its values are not comparable. The untrained network
    has the architecture of the original and is the same for all models of a table. No score is good by itself: a
    retrained model generalises to the forget set, and 1 would say that it is known to be forgotten.
    """

    directions = {"zrf/forget": "to-retrained"}
    needs_untrained = True

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        ids = evidence.split.forget
        divergence = js_divergence(evidence.logits[ids].double(), evidence.untrained[ids].double())
        return {"zrf/forget": 1 - divergence.mean().item()}
