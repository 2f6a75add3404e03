"""Are a model's features still of use for other data?"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.datasets import Dataset
from ..data.transform import Transform
from ..models.head import WithFeatures
from ..types import Count
from .base import Evidence, Metric, given
from .feature_probes import voted
from .features import Features, drawn

BATCH = 256


class Transfer(Metric):
    """``transfer/knn``: accuracy of nearest neighbours in a model's features on a data set that it never saw.

    The test samples of that data set are classified by their neighbours among its training samples, by cosine
    similarity, as in ``FeatureProbes``. Unlearning that degrades features shows as a loss against the retrained model,
    and closer to that is better ("Are we truly forgetting?", arXiv:2503.06991, with data sets of objects and birds).
    Images are scaled to the size that the network takes; grey ones get three equal channels, and coloured ones for a
    network of grey ones are averaged.

    Args:
        data: the other data set.
        neighbours: that vote.
        limit: its training samples, and its test samples, that are looked at, drawn at random.

    Raises ``ValueError`` where the data are not images and the network takes images, or the reverse.
    """

    directions = {"transfer/*": "to-retrained"}

    def __init__(self, data: Dataset, neighbours: Count = 5, limit: Count = 1000) -> None:
        self.data, self.neighbours, self.limit = data, neighbours, limit

    @torch.no_grad()
    def __call__(self, evidence: Evidence) -> dict[str, float]:
        network, like = given(evidence.model), given(evidence.images)(evidence.split.forget[:1])
        known, asked = (drawn(ids, self.limit) for ids in (self.data.train, self.data.test))
        ids = torch.cat([known, asked]).sort().values
        features = Features(ids, self.features(network, ids, like))
        found = voted(features, known, self.data.labels[known], asked, self.neighbours)
        return {"transfer/knn": (found == self.data.labels[asked]).double().mean().item()}

    def features(self, network: nn.Module, ids: Tensor, like: Tensor) -> Tensor:
        """(len(ids), D) features of the other data set's samples; ``like`` is an input of the network, (1, ...)."""
        weights, transform = next(network.parameters()), Transform(self.data)
        model = WithFeatures(network, like.to(weights))
        classes = network(like.to(weights)).shape[1]
        rows = []
        for part in ids.split(BATCH):
            inputs = fitted(transform(self.data.inputs[part], ids=part), like).to(weights)
            rows.append(model(inputs)[:, classes:].float().cpu())
        return torch.cat(rows)


def fitted(images: Tensor, like: Tensor) -> Tensor:
    """Images in the shape of others, (1, C, H, W). Raises ``ValueError`` where either are no images."""
    if images.ndim != 4 or like.ndim != 4:
        raise ValueError(f"inputs of shape {tuple(images.shape[1:])} cannot be brought to {tuple(like.shape[1:])}")
    if images.shape[1] != like.shape[1]:
        images = images.mean(1, keepdim=True).expand(-1, like.shape[1], -1, -1)
    if images.shape[2:] != like.shape[2:]:
        images = F.interpolate(images, size=like.shape[2:], mode="bilinear", antialias=True)
    return images
