"""Do the features before the head still tell the classes of the forget set, whatever the head says?"""

from __future__ import annotations

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import silhouette_samples
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from ..types import Count
from .base import Evidence, Metric, given
from .features import Features


class FeatureProbes(Metric):
    """Recover the labels of the forget set from penultimate features, by two classifiers that a judge fits to them.

    Methods that pass every metric of the output often change the head alone, and leave the features as they were
    ("Are we truly forgetting?", arXiv:2503.06991; "An illusion of unlearning?", arXiv:2604.08271). The probes are
    fitted to a random half of the forget set and of the retain set, with their labels, and judged on the rest: samples
    that the probe has not seen, although the original model has.

    * ``probe/linear_<set>``: accuracy of a multinomial logistic regression on standardised features (penalty
      ``|w|^2 / 2``), on the other half of ``forget`` and ``retain``, and on ``test_forget``, the test samples like the
      forget set, where there are such.
    * ``probe/knn_<set>``: the same for the majority among the nearest neighbours by cosine similarity; of classes with
      as many neighbours the first.
    * ``probe/silhouette``: separability, -1 to 1, the mean over the forget set of ``(b - a) / max(a, b)``, with the
      mean Euclidean distances a to the others of its class and b to the nearest other class (Rousseeuw, 1987).

    A retrained model has features that are good for classes that it never saw, too. So what counts is the difference
    to it: closer to the retrained model is better. At most ``features.LIMIT`` samples of each set are looked at.

    Args:
        neighbours: that vote.
        seed: of the halves, which are the same for every model.

    Raises ``ValueError`` with fewer than two samples to forget, or where the samples to fit to are of one class.
    """

    directions = {"probe/*": "to-retrained"}
    needs = ("features",)

    def __init__(self, neighbours: Count = 5, seed: int = 0) -> None:
        self.neighbours, self.seed = neighbours, seed

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        features, split, labels = given(evidence.features), evidence.split, evidence.labels
        forget, retain = features.among(split.forget), features.among(split.retain)
        if len(forget) < 2:
            raise ValueError(f"probes need at least 2 samples to forget, not {len(forget)}")
        (fit_f, judged_f), (fit_r, judged_r) = (self.halves(ids) for ids in (forget, retain))
        fit = torch.cat([fit_f, fit_r])
        if len(labels[fit].unique()) < 2:
            raise ValueError("all samples that a probe would be fitted to are of one class")
        asked = {"forget": judged_f, "retain": judged_r, "test_forget": features.among(split.test_forget)}
        linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        linear.fit(features.of(fit).numpy(), labels[fit].numpy())
        found = {}
        for name, ids in asked.items():
            if len(ids):
                found[f"probe/linear_{name}"] = float(linear.score(features.of(ids).numpy(), labels[ids].numpy()))
                near = voted(features, fit, labels[fit], ids, self.neighbours)
                found[f"probe/knn_{name}"] = (near == labels[ids]).double().mean().item()
        both = torch.cat([forget, retain])
        separated = silhouette_samples(features.of(both).numpy(), labels[both].numpy())
        return found | {"probe/silhouette": float(separated[: len(forget)].mean())}

    def halves(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The ids that probes are fitted to, of an odd number the larger part, and those that they are judged on."""
        mixed = ids[torch.randperm(len(ids), generator=torch.Generator().manual_seed(self.seed))]
        middle = (len(ids) + 1) // 2
        return mixed[:middle], mixed[middle:]


def voted(features: Features, known: Tensor, labels: Tensor, asked: Tensor, neighbours: int) -> Tensor:
    """(len(asked),) the classes that the nearest neighbours among the samples ``known`` vote for."""
    near, far = (torch.nn.functional.normalize(features.of(ids), dim=1) for ids in (known, asked))
    nearest = (far @ near.T).argsort(dim=1, descending=True, stable=True)[:, :neighbours]
    votes = torch.nn.functional.one_hot(labels[nearest]).sum(1)
    return votes.argmax(1)
