"""Filtering by influence, then retraining (after the baseline of Goel et al., 2024, arXiv:2402.14015)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError
from ..gradients.samples import SampleBackward, Vectors, inner_products
from ..gradients.vectors import flatten, trainable
from ..runtime.distributed import lead, several
from ..types import Batch
from .retrain import Retrain

HELD = 2**28  # elements of the labels' gradients that are held at a time


class InfluenceFilter(Retrain):
    """Drop the retain samples that teach the model the labels of the forget set, then train on the rest from scratch.

    To first order, weighing a training sample z more by epsilon changes the summed loss of the forget samples with the
    label y by ``-epsilon I_y(z)``, ``I_y(z) = g_y^T H^-1 g_z``, with g_z the gradient of its cross-entropy and g_y the
    sum of theirs (Koh and Liang, 2017, arXiv:1703.04730, eq. 2). z is dropped where, for some y, ``I_y(z)`` is above
    ``threshold`` times its mean over these forget samples: where it does at least that part of what a known sample
    does. Taken together, forget samples of several labels would hide each other: of two classes that were mixed up, one
    direction pulls where the other pushes.

    H is one of two curvatures at forget and retain set. ``diagonal`` is cheap: that of the empirical Fisher
    information, the mean of ``g^2``, plus ``damping`` times its own mean. ``ekfac``, the benchmark's, sees how weights
    of a layer interact: the Fisher information by Kronecker factors (see ``unlearning.gradients.ekfac``). It takes two passes
    over all samples, the diagonal one, and the influences of all labels together take one more.

    Args:
        model: as in ``Method``; so are the options.
        threshold: see above.
        scores: see above; ``ekfac`` needs ``pip install 'unlearning[influence]'``.
        damping: of ``diagonal``; the blocks of ``ekfac`` have a tenth.
        options: of ``Retrain``.
    """

    looks = ("forget", "retain")

    def __init__(
        self,
        model: nn.Module,
        threshold: float = 0.3,
        scores: Literal["diagonal", "ekfac"] = "diagonal",
        damping: float = 0.1,
        **options: object,
    ) -> None:
        super().__init__(model, **options)
        if not (threshold > 0 and damping > 0):
            raise UserError(f"method.threshold={threshold}, damping={damping}: both must be above 0")
        if self.streams != ("retain",):
            raise UserError(f"method.stream={self.streams[0]}: influence_filter trains on the retain set alone")
        if scores == "ekfac" and find_spec("kronfluence") is None:
            raise UserError(
                "method.scores=ekfac needs kronfluence: pip install 'unlearning[influence]', or set "
                "method.scores=diagonal"
            )
        if scores == "ekfac" and several():
            raise UserError("method.scores=ekfac works in one process: run one, or set method.scores=diagonal")
        self.threshold, self.damping = threshold, damping
        self.curvature = {"diagonal": self.diagonal, "ekfac": self.ekfac}[scores]

    def on_fit_start(self) -> None:
        self.count_passes()
        if not self.resumed:
            with self.meter.item("influence"):
                self.left_out = lead(self.filtered)  # what is just at the threshold may differ between processes
            self.curves["dropped"].append(torch.tensor(float(len(self.left_out))))
            self.trainer.strategy.setup_optimizers(self.trainer)  # anew, for a schedule of the steps that are left
        super().on_fit_start()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["left_out"] = self.left_out

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.left_out = checkpoint["left_out"]

    # The filter

    def look(self, stream: str) -> Iterator[Batch]:
        """One pass over a stream, un-augmented and in order."""
        return self.trainer.datamodule.batches_for(self, stream)

    def filtered(self) -> Tensor:
        """Ids of the retain samples to drop, on the CPU.

        Raises ``UserError`` where influences are not finite, and where next to none would be left.
        """
        self.model.eval()
        ids = torch.cat([batch.ids for batch in self.look("retain")])
        known = torch.cat([batch.labels for batch in self.look("forget")])
        influences = self.influences(known)
        if lost := int((~influences.isfinite().all(0)).sum()):  # above no threshold: nothing would be dropped
            raise UserError(
                f"the influences of {lost} of {influences.shape[1]} samples are not finite: the original model has "
                "diverged, or it fits all samples so well that every gradient is zero: train it with another "
                "pretrain.epochs"
            )
        same = known == known.unique()[:, None]
        typical = (influences[:, : len(known)] * same).sum(1) / same.sum(1)
        dropped = ids[(influences[:, len(known) :] > self.threshold * typical[:, None]).any(0)].cpu()
        if len(dropped) > 0.9 * len(ids):
            raise UserError(
                f"method.threshold={self.threshold} drops {len(dropped)} of {len(ids)} retain samples: "
                "take a larger one"
            )
        return dropped

    def samples(self) -> Iterator[Batch]:
        """Those of the forget, then of the retain set."""
        return itertools.chain.from_iterable(map(self.look, self.looks))

    def influences(self, known: Tensor) -> Tensor:
        """(K, N_f + N_r) I_y of all samples for each y, ascending, of the K labels among those of the forget set."""
        inverse = self.curvature()
        labels = known.unique()
        at_once = max(1, HELD // sum(weight.numel() for weight in trainable(self.model)))
        rows = []
        for some in labels.split(at_once):
            vectors = inverse(self.gradients(some))
            rows.append(torch.cat([inner_products(self.model, batch, vectors) for batch in self.samples()]).T)
        return torch.cat(rows)

    def gradients(self, labels: Tensor) -> Vectors:
        """g_y, y being each of the labels."""
        weights = trainable(self.model)
        totals = {weight: weight.new_zeros(len(labels), *weight.shape) for weight in weights}
        for batch in self.look("forget"):
            for row, label in enumerate(labels):
                if (own := batch.labels == label).any():
                    loss = F.cross_entropy(self.model(batch.images[own]), batch.labels[own], reduction="sum")
                    found = torch.autograd.grad(loss, weights, materialize_grads=True)
                    for weight, gradient in zip(weights, found, strict=True):
                        totals[weight][row] += gradient
        return totals

    # The curvatures: each is fitted, and then takes vectors v to H^-1 v

    def ekfac(self) -> Callable[[Vectors], Vectors]:
        from ..gradients.ekfac import inverse_ekfac  # here, since the library is an optional extra

        return inverse_ekfac(self.model, self.samples(), self.meter)

    def diagonal(self) -> Callable[[Vectors], Vectors]:
        squares, count = {w: torch.zeros_like(w) for w in trainable(self.model)}, 0
        for batch in self.samples():
            backward = SampleBackward(self.model, batch.images)
            for gradients in backward.along(backward.residuals(batch.labels)):
                squares[gradients.parameter] += gradients.sum_of_squares()
            count += len(batch.ids)
        damping = self.damping * flatten(squares.values()).mean()
        return lambda vectors: {w: count * vector / (squares[w] + damping) for w, vector in vectors.items()}
