"""The distance between a model's predictions and the retrained model's: of samples, and of accuracies."""

import math

from ..losses import js_divergence
from .base import Evidence, Metric, given


class Distance(Metric):
    """Distance to the retrained model's predictions, on the forget set and on test.

    * ``distance/retrain``: ``sqrt((R - R*)^2 + (F - F*)^2)`` with the accuracies R on the retain and F on the forget
      set, and those of the retrained model with a star; 0 to sqrt 2; lower is better (arXiv:2505.21872).
    * ``distance/js_<set>``: Jensen-Shannon divergence in nats, 0 to ln 2, mean over samples; lower is better (Chundawat
      et al., 2023, arXiv:2205.08096).
    * ``distance/activation_<set>``: Euclidean distance of the two probability vectors, 0 to sqrt 2, mean over samples;
      lower is better (Golatkar et al., 2021, arXiv:2012.13431).
    * ``distance/fidelity_forget``: fraction of the forget set for which the two models predict the same class; higher
      is better.
    """

    directions = {
        "distance/retrain": "down",
        "distance/js_*": "down",
        "distance/activation_*": "down",
        "distance/fidelity_forget": "up",
    }
    needs = ("retrained",)

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        found, retrained = {}, given(evidence.retrained)
        accuracies = [
            [
                (logits[ids].argmax(-1) == evidence.labels[ids]).double().mean().item()
                for logits in (evidence.logits, retrained)
            ]
            for ids in (evidence.split.retain, evidence.split.forget)
            if len(ids)
        ]
        if len(accuracies) == 2:
            found["distance/retrain"] = math.dist(*zip(*accuracies, strict=True))
        for name, ids in {"forget": evidence.split.forget, "test": evidence.split.test}.items():
            if len(ids) == 0:
                continue
            ours, theirs = evidence.logits[ids].double(), retrained[ids].double()
            found[f"distance/js_{name}"] = js_divergence(ours, theirs).mean().item()
            activation = (ours.softmax(-1) - theirs.softmax(-1)).norm(dim=-1)
            found[f"distance/activation_{name}"] = activation.mean().item()
            if name == "forget":
                found["distance/fidelity_forget"] = (ours.argmax(-1) == theirs.argmax(-1)).double().mean().item()
        return found
