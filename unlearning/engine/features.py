"""Predict logits and penultimate features of every sample in one pass."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from ..data.transform import Transform
from ..models.head import WithFeatures
from ..scenarios.base import Problem
from .compute import Compute
from .predict import predict


def predict_with_features(network: nn.Module, problem: Problem, compute: Compute) -> tuple[Tensor, Tensor]:
    """(N, C) float32 logits of all samples, the same as ``predict`` gives, and (N, D) features before the head.

    Raises ``UserError`` for a network without a layer that could be its head.
    """
    like = next(network.parameters())
    first = problem.data.train[:1]
    sample = Transform(problem.data)(problem.data.inputs[first], ids=first).to(like)
    both, classes = WithFeatures(network, sample), problem.task.num_classes
    wide = replace(problem, task=replace(problem.task, num_classes=both.outputs))
    found = predict(both, wide, compute)
    return found[:, :classes].contiguous(), found[:, classes:].contiguous()
