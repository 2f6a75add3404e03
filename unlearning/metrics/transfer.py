"""Are a model's features still of use for other data?"""

from __future__ import annotations

from hashlib import sha256

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

    Raises ``ValueError`` where the data are not images and the network takes images, or the reverse, and where the
    forget or the retain set has one of its images: what a model was trained on, or forgot, is no other data set.
    """

    directions = {"transfer/*": "to-retrained"}

    def __init__(self, data: Dataset, neighbours: Count = 5, limit: Count = 1000) -> None:
        self.data, self.neighbours, self.limit = data, neighbours, limit

    @torch.no_grad()
    def __call__(self, evidence: Evidence) -> dict[str, float]:
        network, like = given(evidence.model), given(evidence.images)(evidence.split.forget[:1])
        known, asked = (drawn(ids, self.limit) for ids in (self.data.train, self.data.test))
        ids = torch.cat([known, asked]).sort().values
        self.require_unseen(evidence, ids)
        features = Features(ids, self.features(network, ids, like))
        found = voted(features, known, self.data.labels[known], asked, self.neighbours)
        return {"transfer/knn": (found == self.data.labels[asked]).double().mean().item()}

    def require_unseen(self, evidence: Evidence, ids: Tensor) -> None:
        """Raise ``ValueError`` where one of these samples of the other data set is among the model's own."""
        images, transform = given(evidence.images), Transform(self.data)
        if images(ids[:0]).shape[1:] != self.data.input_shape:
            return
        sets = evidence.split.forget, evidence.split.retain
        own = torch.cat([drawn(samples, self.limit) for samples in sets]).split(BATCH)
        theirs = {found for part in ids.split(BATCH) for found in digests(transform(self.data.inputs[part], ids=part))}
        if shared := theirs & {found for part in own for found in digests(images(part))}:
            raise ValueError(
                f"{len(shared)} samples of {self.data.name} are among those that the model was trained on: "
                "name another data set as evaluation.transfer.data"
            )

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


def digests(samples: Tensor) -> set[bytes]:
    """A digest of each sample, equal for equal ones."""
    return {sha256(sample.tobytes()).digest() for sample in samples.float().cpu().numpy()}


def fitted(images: Tensor, like: Tensor) -> Tensor:
    """Images in the shape of others, (1, C, H, W). Raises ``ValueError`` where either are no images."""
    if images.ndim != 4 or like.ndim != 4:
        raise ValueError(f"inputs of shape {tuple(images.shape[1:])} cannot be brought to {tuple(like.shape[1:])}")
    if images.shape[1] != like.shape[1]:
        images = images.mean(1, keepdim=True).expand(-1, like.shape[1], -1, -1)
    if images.shape[2:] != like.shape[2:]:
        images = F.interpolate(images, size=like.shape[2:], mode="bilinear", antialias=True)
    return images
