"""The distance between a model's predictions and the retrained model's, sample by sample."""

from ..losses import js_divergence
from .base import Evidence, Metric, given


class Distance(Metric):
    """Distance to the retrained model's predictions, on the forget set and on test.

    * ``distance/js_<set>``: Jensen-Shannon divergence in nats, 0 to ln 2, mean over samples; lower is better (Chundawat
      et al., 2023, arXiv:2205.08096).
    * ``distance/activation_<set>``: Euclidean distance of the two probability vectors, 0 to sqrt 2, mean over samples;
      lower is better (Golatkar et al., 2021, arXiv:2012.13431).
    * ``distance/fidelity_forget``: fraction of the forget set for which the two models predict the same class; higher
      is better.
    """

    directions = {"distance/js_*": "down", "distance/activation_*": "down", "distance/fidelity_forget": "up"}
    needs = ("retrained",)

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        found, retrained = {}, given(evidence.retrained)
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
