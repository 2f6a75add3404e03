"""Synaptic dampening: what SSD and its descendants share."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ..addons.base import trainable
from ..importance import MEASURES, Measure, assign, dampened, flatten, parts, sample_sums
from ..types import Batch
from .base import OneShot


class Dampening(OneShot):
    """Dampen the weights that matter much more to the forget set than to a reference set.

    With importances I, each weight with ``I_f > alpha I_ref`` becomes ``w min(lam I_ref / I_f, 1)``. A method of this
    family is an importance (``measure``) and a way to choose ``alpha``; those of equal importance share one look at the
    data. With ``g`` the gradient of the measured value of a sample, and ``size`` its square (cross-entropy) or absolute
    value (the norms), the importance of a set is

    * ``batch``: the mean over its batches of ``size(mean over the batch of g)``, which depends on the batch size and on
      the order: in batches of one class gradients agree, in mixed ones they cancel. So alpha suits one such setting.
    * ``per_sample``: the mean over its samples of ``size(g)``, which depends on neither.

    BatchNorm statistics are untouched.

    Args:
        model: see ``Method``, as for the options.
        reference: what forget importance is compared with: the whole training set or the retain set.
        importance: ``batch`` or ``per_sample``.
        order: of the samples for ``batch``: shuffled, or sorted by class as data sets on disk often are.
    """

    measure: Literal["cross_entropy", "squared_norm", "norm"] = "cross_entropy"
    observes_with = ("measure", "importance", "order")
    lam = 1.0

    def __init__(
        self,
        model: nn.Module,
        reference: Literal["train", "retain"] = "retain",
        importance: Literal["batch", "per_sample"] = "batch",
        order: Literal["shuffled", "by_class"] = "shuffled",
        **options: object,
    ) -> None:
        super().__init__(model, **options)
        self.reference, self.importance, self.order = reference, importance, order
        # The importance of all data by sample is the mean of that of its two parts: a pass over each is enough.
        self.streams = ("forget", "retain" if importance == "per_sample" else reference)

    def threshold(self, forget: Tensor, reference: Tensor) -> float | Tensor:
        """``alpha`` for these importances, vectors over the parameters."""
        raise NotImplementedError

    def edit(self) -> None:
        forget, reference = self.importances()
        weights = trainable(self.model)
        assign(weights, dampened(flatten(weights), forget, reference, self.threshold(forget, reference), self.lam))

    # The importances

    def observation_key(self) -> dict[str, object]:
        key = super().observation_key()
        if self.importance == "per_sample":
            del key["batch_sizes"], key["order"]
        return key

    def observe(self, stream: str, batch: Batch) -> None:
        weights, measure = trainable(self.model), MEASURES[self.measure]
        if self.importance == "per_sample":
            sizes, count = sample_sums(self.model, batch.images, batch.labels, measure, weights), len(batch.ids)
        else:
            sizes, count = self.batch_sizes_of_gradient(batch, measure, weights), 1
        ...
