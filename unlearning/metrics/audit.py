"""Is a model like the retrained one in what it says, and in how it represents the samples? One number of both."""

from __future__ import annotations

from collections.abc import Mapping

from .base import Evidence, Metric
from .directions import MEAN_OVER

NEIGHBOURS = ("probe/knn_forget", "transfer/knn")  # the latter where the evaluation has it
SIMILARITIES = ("cka/retrained_forget", "cka/retrained_retain")


class Audit(Metric):
    """``audit/output``, ``audit/representation``, ``audit/summary``: agreement with the retrained model, 0 to 1.

    * ``audit/output``: the mean of ``1 - |gap|`` over the metrics of ``gap/mean``: forget, retain and test accuracy,
      and the loss-based attack.
    * ``audit/representation``: the mean of ``1 - |gap|`` of the nearest neighbours' accuracy on the forget set (and on
      another data set, see ``transfer.Transfer``), and of the CKA to the retrained model on forget and retain, debiased
      in ``evaluation=full`` and clipped to [0, 1], which estimates without bias leave.
    * ``audit/summary``: the harmonic mean of the two, which is low where either is.

    The two axes are those of "Are we truly forgetting?" (arXiv:2503.06991). They follow from the other metrics, and are
    missing where one of these is. Another retrained model is below 1 in both: ``method=retrain`` has what can be hoped
    for. A change of the head alone has a high first and a lower second number.
    """

    directions = {"audit/*": "up"}
    needs = ("features", "retrained")

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        return {}  # all follows from other metrics

    def relative(self, row: Mapping[str, float], retrained: Mapping[str, float]) -> dict[str, float]:
        near = {name: 1 - abs(row[name] - retrained[name]) for name in (*MEAN_OVER, *NEIGHBOURS) if name in row}
        like = [min(max(row[name], 0.0), 1.0) for name in SIMILARITIES if name in row]
        if not {*MEAN_OVER, NEIGHBOURS[0]} <= near.keys() or len(like) < len(SIMILARITIES):
            return {}
        output = sum(near[name] for name in MEAN_OVER) / len(MEAN_OVER)
        parts = [near[name] for name in NEIGHBOURS if name in near] + like
        representation = sum(parts) / len(parts)
        both = output + representation
        summary = 2 * output * representation / both if both > 0 else 0.0
        return {"audit/output": output, "audit/representation": representation, "audit/summary": summary}
