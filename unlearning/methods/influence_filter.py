"""Filtering by influence, then retraining (after the baseline of Goel et al., 2024, arXiv:2402.14015)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..addons.base import trainable
from ..errors import UserError
from ..importance import flatten
from ..sample_gradients import SampleBackward, directional_derivatives
from ..types import Batch
from .retrain import Retrain


class InfluenceFilter(Retrain):
    """Drop the retain samples that teach the model the labels of the forget set, then train on the rest from scratch.

    To first order, weighing a training sample z more by epsilon changes the mean loss of the forget set by
    ``-epsilon I(z)``, ``I(z) = g_f^T H^-1 g_z``, with g_z the gradient of its cross-entropy, g_f the mean of those of
    the forget set (Koh and Liang, 2017, arXiv:1703.04730, eq. 2). Here H is the diagonal of the empirical Fisher
    information, the mean of ``g^2`` over forget and retain set, plus ``damping`` times its own mean. z is dropped where
    ``I(z) > threshold I_f``, I_f being the mean of I over the forget set: where it does at least that part of what a
    known sample does. This is a cheap stand-in for the benchmark's scores (EK-FAC), which see how weights interact.

    Args:
        model: as in ``Method``; so are the options.
        threshold: see above.
        damping: see above.
        options: of ``Retrain``.
    """

    looks = ("forget", "retain")

    def __init__(self, model: nn.Module, threshold: float = 0.5, damping: float = 0.1, **options: object) -> None:
        super().__init__(model, **options)
        if not (threshold > 0 and damping > 0):
            raise UserError(f"method.threshold={threshold}, damping={damping}: both must be above 0")
        if self.streams != ("retain",):
            raise UserError(f"method.stream={self.streams[0]}: influence_filter trains on the retain set alone")
        self.threshold, self.damping = threshold, damping

    def on_fit_start(self) -> None:
        self.count_passes()
        with self.meter.item("influence"):
            self.left_out = self.filtered()
        self.trainer.strategy.setup_optimizers(self.trainer)  # anew, for a schedule of the steps that are left
        super().on_fit_start()

    # The filter

    def look(self, stream: str) -> Iterator[Batch]:
        """One pass over a stream, un-augmented and in order."""
        return self.trainer.datamodule.batches_for(self, stream)

    def filtered(self) -> Tensor:
        """Ids of the retain samples to drop.

        Raises ``UserError`` where next to none would be left.
        """
        self.model.eval()
        direction = self.direction()
        ids, influences = {}, {}
        for stream in self.looks:
            found = ((b.ids, directional_derivatives(self.model, b, direction)) for b in self.look(stream))
            ids[stream], influences[stream] = map(torch.cat, zip(*found, strict=True))
        dropped = ids["retain"][influences["retain"] > self.threshold * influences["forget"].mean()]
        self.curves["dropped"].append(torch.tensor(float(len(dropped))))
        if len(dropped) > 0.9 * len(ids["retain"]):
            raise UserError(
                f"method.threshold={self.threshold} drops {len(dropped)} of {len(ids['retain'])} retain samples: "
                "take a larger one"
            )
        return dropped

    def direction(self) -> Tensor:
        """``H^-1 g_f``, a vector over the weights."""
        weights = trainable(self.model)
        squares = {w: torch.zeros_like(w) for w in weights}
        forget, counts = torch.zeros_like(flatten(weights)), dict.fromkeys(self.looks, 0)
        for stream in self.looks:
            for batch in self.look(stream):
                counts[stream] += len(batch.ids)
                backward = SampleBackward(self.model, batch.images)
                residual = backward.residuals(batch.labels)
                if stream == "forget":
                    found = torch.autograd.grad(backward.logits, weights, residual, retain_graph=True)
                    forget += flatten(found)
                for gradients in backward.along(residual):
                    squares[gradients.parameter] += gradients.sum_of_squares()
        hessian = flatten(squares[w] for w in weights) / sum(counts.values())
        return forget / counts["forget"] / (hessian + self.damping * hessian.mean())
