"""Predict the logits of every sample, and the penultimate features of some, in one pass."""

from __future__ import annotations

import torch
from torch import Tensor

from ..data.transform import Transform
from ..metrics.features import Features
from ..models.head import WithFeatures
from ..scenarios.base import Problem
from ..types import Batch
from .compute import Compute
from .predict import Predictor, predicted


class FeaturePredictor(Predictor):
    """Fills ``logits`` (N, C) by sample id, and ``features`` (len(ids), D) in the order of the samples ``ids``."""

    def __init__(self, network: WithFeatures, samples: int, num_classes: int, ids: Tensor) -> None:
        super().__init__(network, samples, num_classes)
        self.ids = ids
        self.features = torch.zeros(len(ids), network.outputs - num_classes)
        self.row = torch.full((samples,), -1)  # of each sample among the features
        self.row[ids] = torch.arange(len(ids))

    def predict_step(self, batch: Batch, _: int) -> None:
        ids, classes = batch.ids.cpu(), self.logits.shape[1]
        both = self.network(batch.images).float().cpu()
        rows = self.row[ids]
        self.logits[ids], self.seen[ids] = both[:, :classes], True
        self.features[rows[rows >= 0]] = both[rows >= 0, classes:]

    def on_predict_end(self) -> None:
        if self.trainer.world_size > 1:
            for features, seen in zip(self.gathered(self.features), self.gathered(self.seen), strict=True):
                self.features[seen[self.ids]] = features[seen[self.ids]]
        super().on_predict_end()


def predict_with_features(
    network: torch.nn.Module, problem: Problem, compute: Compute, ids: Tensor, layers: bool = False
) -> tuple[Tensor, Features]:
    """(N, C) float32 logits of all samples, the same as ``predict`` gives, and features before the head.

    Args:
        network: the model.
        problem: its data.
        compute: the trainer's settings.
        ids: sorted ids of the samples whose features are kept.
        layers: whether the outputs of the network's blocks are kept, too.

    Raises ``UserError`` for a network without a layer that could be its head.
    """
    like = next(network.parameters())
    first = problem.data.train[:1]
    sample = Transform(problem.data)(problem.data.inputs[first], ids=first).to(like)
    both = WithFeatures(network, sample, layers)
    predictor = FeaturePredictor(both, len(problem.data.labels), problem.task.num_classes, ids)
    logits, widths = predicted(predictor, problem, compute), both.widths
    own = predictor.features.shape[1] - sum(widths.values())
    values, *parts = predictor.features.split([own, *widths.values()], 1)
    return logits, Features(ids, values.contiguous(), dict(zip(widths, parts, strict=True)))
