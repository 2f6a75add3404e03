"""Synaptic dampening: the part that SSD and its descendants share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..data.feed import Order
from ..gradients.importance import MEASURES, dampened
from ..gradients.per_sample import SampleBackward
from ..gradients.vectors import assign, flatten, trainable
from ..types import Batch
from .guard import Guard
from .one_shot import OneShot


class Dampening(OneShot):
    """Dampen the weights that matter much more to the forget set than to a reference set.

    Each weight with ``I_f > alpha I_ref`` becomes ``w min(lam I_ref / I_f, 1)``. A method of this family is an
    importance I (``measure``) and a way to choose ``alpha``; methods with the same importance share one look at the
    data. With g the gradient of a sample's cross-entropy, or of the (squared) norm of its logits, the importance of a
    set is

    * ``batch``: the mean over batches of ``(mean of g over the batch)^2``, or of its absolute value for the norms. It
      depends on the batch size and on the order: gradients agree in batches of one class and cancel in mixed ones. An
      alpha therefore suits one such setting only.
    * ``per_sample``: the mean over samples of ``g^2``, or of ``|g|`` for the norms: what batches of one sample give. It
      depends on neither.

    BatchNorm statistics are untouched.

    Args:
        model: as in ``Method``, like the other options.
        reference: the whole training set, or the retain set.
        importance: ``batch`` or ``per_sample``.
        order: the order in which ``batch`` takes the samples, as in ``Feed``. A method that sees no labels has them
            shuffled.

    Raises ``UserError`` for an order by class without labels.
    """

    measure: Literal["cross_entropy", "squared_norm", "norm"] = "cross_entropy"
    lam = 1.0
    observes_with = ("measure", "importance")

    def __init__(
        self,
        model: nn.Module,
        reference: Literal["train", "retain"] = "retain",
        importance: Literal["batch", "per_sample"] = "batch",
        order: Order = "shuffled",
        **options: Any,
    ) -> None:
        super().__init__(model, **options)
        self.reference, self.importance = reference, importance
        # By sample, the importance of all data is the mean of those of its parts: a pass over each part is enough.
        other = "retain" if importance == "per_sample" else reference
        self.feed = replace(self.feed, streams=("forget", other), order=order)

    def threshold(self, forget: Tensor, reference: Tensor) -> float | Tensor:
        """``alpha`` for importances of the forget and of the reference set, vectors over the weights."""
        raise NotImplementedError

    def edit(self) -> None:
        forget, reference = self.importances()
        ratios = (forget / reference).nan_to_num(0.0, posinf=0.0)  # where the reference is 0, any alpha dampens
        self.curves["alpha_bound"].append(ratios.max())  # no alpha from there on dampens any other weight
        self.dampen(flatten(trainable(self.model)), forget, reference, self.threshold(forget, reference))

    def dampen(self, original: Tensor, forget: Tensor, reference: Tensor, alpha: float | Tensor) -> None:
        """Set the weights to the dampened original ones, and note the share of those that are dampened."""
        assign(trainable(self.model), dampened(original, forget, reference, alpha, self.lam))
        smaller = (forget > alpha * reference) & (forget > self.lam * reference)  # above alpha, by a factor below 1
        self.curves["dampened_share"].append(smaller.count_nonzero() / len(original))

    def partway(self, guard: Guard) -> Callable[[float], None]:
        """``alpha`` is divided by the part of the way, so that fewer weights are dampened."""
        forget, reference = self.importances()
        alpha = self.threshold(forget, reference)

        def put(part: float) -> None:
            guard.place(guard.original, 0.0)
            if part:
                self.dampen(flatten(trainable(self.model)), forget, reference, alpha / part)

        return put

    # The look at the data

    def observation_key(self) -> dict[str, Any]:
        key = super().observation_key()
        if self.importance == "per_sample":  # however the samples are batched
            del key["batch_sizes"], key["order"]
        return key

    def observe(self, stream: str, batch: Batch) -> None:
        look = self.sum_of_sizes if self.importance == "per_sample" else self.size_of_mean
        self.add(stream, look(batch))
        self.add(f"{stream}_samples", torch.tensor(float(len(batch.ids)), device=self.device))
        self.add(f"{stream}_batches", torch.ones((), device=self.device))

    def size_of_mean(self, batch: Batch) -> Tensor:
        """The importance of a batch, a vector over the weights."""
        measure = MEASURES[self.measure]
        mean = measure.value(self.model(batch.images), batch.labels).mean()
        gradient = flatten(torch.autograd.grad(mean, trainable(self.model), materialize_grads=True))
        return measure.size(self.averaged(gradient))

    def sum_of_sizes(self, batch: Batch) -> Tensor:
        """The sum over a batch of its samples' own importances, a vector over the weights."""
        measure = MEASURES[self.measure]
        backward = SampleBackward(self.model, batch.images)
        logits = backward.logits.detach().requires_grad_()
        (directions,) = torch.autograd.grad(measure.value(logits, batch.labels).sum(), logits)
        sums = {gradients.parameter: measure.summed(gradients) for gradients in backward.along(directions)}
        return flatten(sums[p] for p in trainable(self.model))

    # What the observations say

    def importances(self) -> tuple[Tensor, Tensor]:
        """Importance for the forget set and for the reference set, vectors over the weights."""
        seen = self.observations
        unit = "samples" if self.importance == "per_sample" else "batches"
        forget, other = ((seen[stream], seen[f"{stream}_{unit}"]) for stream in self.streams)
        if self.reference not in self.streams:
            other = (forget[0] + other[0], forget[1] + other[1])
        return forget[0] / forget[1], other[0] / other[1]

    @property
    def forget_share(self) -> float:
        """The fraction of the training set that is the forget set."""
        forget, other = (self.observations[f"{stream}_samples"].item() for stream in self.streams)
        return forget / (other if self.streams[1] == "train" else forget + other)
