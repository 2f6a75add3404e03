"""The forget set that unlearning leaves most recognisable, by bi-level selection (Fan et al., 2024, arXiv:2403.07362).

The upper level chooses weights ``w`` in [0, 1] of the training samples, whose sum is the size of the forget set, for
which the unlearned model has the least loss on what it was to forget::

    min_w sum_i w_i loss(theta(w); x_i, y_i)    with    theta(w) = argmin sum_i w_i loss(theta; x_i, r_i)
                                                                        + (1 - w_i) loss(theta; x_i, y_i)

The lower level unlearns by random labels ``r_i != y_i``, from the original model. As in the paper it takes steps along
the sign of the gradient. These do not change with small changes of ``w``, so that the gradient of the upper level is
the vector of losses itself, and a projected step along it needs no second derivatives.

This differs from the paper in the upper level, to whose objective the paper adds a ridge term, ``gamma |w|^2``. It is
left out: it pulls the weights towards one another, and what is used of them is only which are the largest.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..types import Count, PartialFraction, Positive


@dataclass(frozen=True)
class WorstCase:
    """How the weights are found.

    Args:
        fraction: of the samples, that is forgotten.
        rounds: steps of the upper level.
        rate: length of a step of the upper level, by nat of loss.
        epochs: of each unlearning.
        lr: how far a step of the lower level moves every parameter.
        batch_size: of the lower level.
        seed: of the random labels and of the order of the samples.
    """

    fraction: PartialFraction = 0.1
    rounds: Count = 10
    rate: Positive = 0.2
    epochs: Count = 2
    lr: Positive = 1e-3
    batch_size: Count = 128
    seed: int = 0

    def scores(self, original: nn.Module, inputs: Tensor, labels: Tensor, classes: int) -> Tensor:
        """(N,) float64: the samples with the highest are the worst to forget, as many as ``fraction`` of them.

        They are the weights before the last projection, which keeps their order and clips what lies beyond [0, 1].

        Args:
            original: the model that learned all samples; it is not changed.
            inputs: (N, ...) as the network takes them.
            labels: (N,).
            classes: how many there are.
        """
        count = self.fraction * len(labels)
        weights = torch.full((len(labels),), self.fraction, dtype=torch.float64)
        for _ in range(self.rounds):
            scores = weights - self.rate * self.losses(original, inputs, labels, classes, weights)
            weights = projected(scores, count)
        return scores

    def losses(self, original: nn.Module, inputs: Tensor, labels: Tensor, classes: int, weights: Tensor) -> Tensor:
        """(N,) float64 cross-entropies of the model that unlearned the samples with these weights."""
        network = copy.deepcopy(original).eval()  # the statistics of BatchNorm stay those of the original
        free = [parameter for parameter in network.parameters() if parameter.requires_grad]
        generator = torch.Generator().manual_seed(self.seed)
        shift = torch.randint(1, classes, labels.shape, generator=generator)
        others, weights = (labels + shift) % classes, weights.to(inputs.dtype)
        for _ in range(self.epochs):
            for batch in torch.randperm(len(labels), generator=generator).split(self.batch_size):
                logits = network(inputs[batch])
                wrong, right = (F.cross_entropy(logits, to[batch], reduction="none") for to in (others, labels))
                loss = (weights[batch] * wrong + (1 - weights[batch]) * right).mean()
                step = torch.autograd.grad(loss, free)
                with torch.no_grad():
                    for parameter, gradient in zip(free, step, strict=True):
                        parameter.sub_(gradient.sign(), alpha=self.lr)
        with torch.no_grad():
            parts = [
                F.cross_entropy(network(inputs[ids]).double(), labels[ids], reduction="none")
                for ids in torch.arange(len(labels)).split(self.batch_size)
            ]
        return torch.cat(parts)

    def left(self, original: nn.Module, inputs: Tensor, labels: Tensor, classes: int, chosen: Tensor) -> float:
        """The mean loss that unlearning the ``chosen`` samples, a mask (N,), gives them."""
        return self.losses(original, inputs, labels, classes, chosen.double())[chosen].mean().item()


def projected(values: Tensor, total: float) -> Tensor:
    """(N,) the nearest weights in [0, 1] whose sum is ``total``: the values shifted by one number, and clipped.

    The shift is found by bisection, to the last bit that matters.
    """
    low, high = (values.min() - 1).item(), values.max().item()
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if (values - middle).clamp(0, 1).sum() > total else (low, middle)
    return (values - high).clamp(0, 1)
