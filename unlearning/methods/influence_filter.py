"""Filtering by influence, then retraining (after the baseline of Goel et al., 2024, arXiv:2402.14015)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..addons.base import Addon
from ..errors import UserError
from ..gradients.per_sample import SampleBackward
from ..gradients.products import inner_products
from ..gradients.vectors import Vectors, flatten, trainable
from ..runtime.distributed import lead, several
from ..schedules import Schedule
from ..types import Batch, Count, Fraction, Positive
from .one_shot import OneShot
from .retrain import Retrain
from .step import MakeOptimizer

HELD = 2**28  # elements of the labels' gradients that are held at a time
WARNED = 0.5  # the share of the retain set above which it is told that it was dropped


class InfluenceFilter(OneShot):
    """Drop the retain samples that teach the model the labels of the forget set, then train on the rest from scratch.

    To first order, raising the weight of a training sample z by epsilon changes the summed loss of the forget samples
    with the label y by ``-epsilon I_y(z)``, ``I_y(z) = g_y^T H^-1 g_z``, where g_z is the gradient of z's cross-entropy
    and g_y the sum of the gradients of those samples (Koh and Liang, 2017, arXiv:1703.04730, eq. 2). z is dropped if,
    for some y, ``I_y(z)`` is above ``threshold`` times its mean over these forget samples, that is, if z has at least
    that fraction of the effect of a known sample. Each label has its own g_y because forget samples of several labels
    could cancel each other: if two classes were mixed up, one direction pulls where the other pushes.

    H is one of two curvatures over the forget and the retain set. ``diagonal`` is cheap: the diagonal of the empirical
    Fisher information, the mean of ``g^2``, plus ``damping`` times its own mean. ``ekfac``, the benchmark's, includes
    interactions between the weights of a layer: the Fisher information by Kronecker factors (see
    ``unlearning.gradients.ekfac``). ``ekfac`` takes two passes over all samples and ``diagonal`` takes one; the
    influences take one more pass, for all labels together.

    Args:
        model: as in ``Method``.
        threshold, scores: see above; ``ekfac`` needs the package kronfluence.
        damping: of ``diagonal``; ``ekfac`` always adds a tenth of the mean eigenvalue of each block.
        most: the fraction of the retain set that may be dropped.
        optimizer, schedule, epochs, batch_size, batch_norm, redraw, addons: of the training that follows; see
            ``Retrain``.

    Raises ``UserError`` for ``ekfac`` without its package or in several processes, and where more than ``most`` would
    be dropped: what is left makes no good model.
    """

    feed = replace(OneShot.feed, streams=(), looks=("forget", "retain"))
    repair: Retrain

    def __init__(
        self,
        model: nn.Module,
        threshold: Positive = 0.3,
        scores: Literal["diagonal", "ekfac"] = "diagonal",
        damping: Positive = 0.1,
        most: Fraction = 0.5,
        optimizer: MakeOptimizer | None = None,
        schedule: Schedule | None = None,
        epochs: Count = 1,
        batch_size: Count = 64,
        batch_norm: Literal["train", "eval"] = "train",
        redraw: int = 0,
        addons: Sequence[Addon] = (),
    ) -> None:
        super().__init__(model, batch_size)
        if scores == "ekfac" and find_spec("kronfluence") is None:
            raise UserError(
                "method.scores=ekfac needs kronfluence: pip install kronfluence, or set method.scores=diagonal",
                key="method.scores",
                kind="missing",
            )
        if scores == "ekfac" and several():
            raise UserError(
                "method.scores=ekfac works in one process: run one, or set method.scores=diagonal",
                key="method.scores",
                kind="conflict",
            )
        self.threshold, self.damping, self.most = threshold, damping, most
        self.curvature = {"diagonal": self.diagonal, "ekfac": self.ekfac}[scores]
        self.repair = Retrain(
            model,
            redraw,
            optimizer=optimizer,
            schedule=schedule,
            epochs=epochs,
            batch_size=batch_size,
            batch_norm=batch_norm,
            addons=addons,
        )

    def edit(self) -> None:
        with torch.enable_grad(), self.meter.item("influence"):
            dropped = lead(self.filtered)  # a sample just at the threshold may differ between processes
        self.curves["dropped"].append(torch.tensor(float(len(dropped))))
        self.repair.feed = replace(self.repair.feed, left_out=dropped)

    @staticmethod
    def remarks(last: Mapping[str, float], options: Mapping[str, Any], sizes: Mapping[str, int]) -> Iterator[str]:
        dropped, retained = int(last.get("dropped", 0)), sizes["retain"]
        if dropped > WARNED * retained:
            yield (
                f"influence_filter dropped {dropped} of {retained} retain samples, which are too much like the forget "
                f"set for method.threshold={options['threshold']:g}: use a larger threshold"
            )

    # The filter

    def filtered(self) -> Tensor:
        """Ids of the retain samples to drop, on the CPU.

        Raises ``UserError`` if influences are not finite, or if more than ``most`` would be dropped, as they
        are where the forget set is a random part of the data.
        """
        ids = torch.cat([batch.ids for batch in self.look("retain")])
        known = torch.cat([batch.targets for batch in self.look("forget")])
        influences = self.influences(known)
        if lost := int((~influences.isfinite().all(0)).sum()):  # NaN exceeds no threshold: nothing would be dropped
            raise UserError(
                f"the influences of {lost} of {influences.shape[1]} samples are not finite: the original model has "
                "diverged, or it fits all samples so well that every gradient is zero: train it with another "
                "pretrain.epochs",
                key="pretrain.epochs",
                kind="diverged",
            )
        same = known == known.unique()[:, None]
        typical = (influences[:, : len(known)] * same).sum(1) / same.sum(1)
        dropped = ids[(influences[:, len(known) :] > self.threshold * typical[:, None]).any(0)].cpu()
        if len(dropped) > self.most * len(ids):
            raise UserError(
                f"method.threshold={self.threshold} drops {len(dropped)} of {len(ids)} retain samples, more than "
                f"method.most={self.most:g} allows: use a larger threshold",
                key="method.threshold",
            )
        return dropped

    def samples(self) -> Iterator[Batch]:
        """The samples of the forget set, then those of the retain set."""
        return itertools.chain(self.look("forget"), self.look("retain"))

    def influences(self, known: Tensor) -> Tensor:
        """(K, N_f + N_r) I_y of all samples; one row for each of the K labels y in ``known``, in ascending order.

        ``known`` (N_f,) holds the labels of the forget set.
        """
        inverse = self.curvature()
        labels = known.unique()
        at_once = max(1, HELD // sum(weight.numel() for weight in trainable(self.model)))
        rows = []
        for some in labels.split(at_once):
            vectors = inverse(self.gradients(some))
            rows.append(torch.cat([inner_products(self.model, batch, vectors) for batch in self.samples()]).T)
        return torch.cat(rows)

    def gradients(self, labels: Tensor) -> Vectors:
        """g_y for each y in ``labels``."""
        weights = trainable(self.model)
        totals: dict[Tensor, Tensor] = {weight: weight.new_zeros(len(labels), *weight.shape) for weight in weights}
        for batch in self.look("forget"):
            for row, label in enumerate(labels):
                if (own := batch.targets == label).any():
                    loss = F.cross_entropy(self.model(batch.images[own]), batch.targets[own], reduction="sum")
                    found = torch.autograd.grad(loss, weights, materialize_grads=True)
                    for weight, gradient in zip(weights, found, strict=True):
                        totals[weight][row] += gradient
        return totals

    # The curvatures: each fits one and returns a function that maps vectors v to H^-1 v

    def ekfac(self) -> Callable[[Vectors], Vectors]:
        from ..gradients.ekfac import inverse_ekfac  # here, because the package it needs is optional

        return inverse_ekfac(self.model, self.samples(), self.meter)

    def diagonal(self) -> Callable[[Vectors], Vectors]:
        squares: dict[Tensor, Tensor] = {w: torch.zeros_like(w) for w in trainable(self.model)}
        count = 0
        for batch in self.samples():
            backward = SampleBackward(self.model, batch.images)
            for gradients in backward.along(backward.residuals(batch.targets)):
                squares[gradients.parameter] += gradients.sum_of_squares()
            count += len(batch.ids)
        damping = self.damping * flatten(squares.values()).mean()
        return lambda vectors: {w: count * vector / (squares[w] + damping) for w, vector in vectors.items()}
