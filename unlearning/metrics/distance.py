"""How far a model's predictions are from the retrained model's, sample by sample."""

from ..losses import js_divergence
from .base import Evidence, Metric


class Distance(Metric):
    """Distance to the retrained model's predictions, on the forget set and on test.

    * ``distance/js_<set>``: Jensen-Shannon divergence in nats, 0 to ln 2, mean over samples.
    * ``distance/activation_<set>``: Euclidean distance of the two probability vectors, 0 to sqrt 2, mean over samples
      (Golatkar et al., 2021).
    * ``distance/fidelity_forget``: share of the forget set on which the two models predict the same class.
    """

    directions = {"distance/js_*": "down", "distance/activation_*": "down", "distance/fidelity_forget": "up"}
    needs_retrained = True

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        found = {}
        for name, ids in {"forget": evidence.split.forget, "test": evidence.split.test}.items():
            if len(ids) == 0:
                continue
            ours, theirs = evidence.logits[ids].double(), evidence.retrained[ids].double()
            found[f"distance/js_{name}"] = js_divergence(ours, theirs).mean().item()
            activation = (ours.softmax(-1) - theirs.softmax(-1)).norm(dim=-1)
            found[f"distance/activation_{name}"] = activation.mean().item()
            if name == "forget":
                found["distance/fidelity_forget"] = (ours.argmax(-1) == theirs.argmax(-1)).double().mean().item()
        return found
