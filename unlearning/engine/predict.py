"""Predict every sample once; metrics are computed from these logits."""

from __future__ import annotations

import lightning as L
import torch
from torch import Tensor, nn

from ..data.datamodule import UnlearningData
from ..errors import UserError
from ..runtime.interrupts import interruptible
from ..scenarios.base import Problem
from ..types import Batch
from .compute import Compute


class Predictor(L.LightningModule):
    """Fills ``logits`` (N, C) by sample id, so that neither order nor a sampler's padding can matter."""

    def __init__(self, network: nn.Module, samples: int, num_classes: int) -> None:
        super().__init__()
        self.network = network
        self.logits = torch.zeros(samples, num_classes)
        self.seen = torch.zeros(samples, dtype=torch.bool)

    def predict_step(self, batch: Batch, _: int) -> None:
        ids = batch.ids.cpu()
        self.logits[ids] = self.network(batch.images).float().cpu()
        self.seen[ids] = True

    def on_predict_end(self) -> None:
        if self.trainer.world_size > 1:
            for logits, seen in zip(self.gathered(self.logits), self.gathered(self.seen), strict=True):
                self.logits[seen] = logits[seen]
                self.seen |= seen

    def gathered(self, tensor: Tensor) -> Tensor:
        """The tensors of all processes, stacked, on the CPU."""
        return self.all_gather(tensor.to(self.device)).cpu()  # type: ignore[union-attr]


def predict(network: nn.Module, problem: Problem, compute: Compute, ids: Tensor | None = None) -> Tensor:
    """(len(ids), C) float32 logits of the samples ``ids``, all where it is None: un-augmented, in eval mode.

    Precision and processes are those of training; the precision may round the network's weights.
    """
    predictor = Predictor(network.eval(), len(problem.data.labels), problem.task.num_classes)
    return predicted(predictor, problem, compute, ids)


def predicted(predictor: Predictor, problem: Problem, compute: Compute, ids: Tensor | None = None) -> Tensor:
    """The logits of the samples ``ids``, once the predictor has seen each of them.

    Raises ``UserError`` where the trainer's settings keep samples from it.
    """
    data = UnlearningData(
        problem.data, problem.split, problem.task, predict_batch_size=compute.predict_batch_size, predicted=ids
    )
    with interruptible():
        compute.trainer().predict(predictor, datamodule=data, return_predictions=False)
    if not (seen := predictor.seen[data.predicted]).all():
        raise UserError(
            f"the trainer predicted {int(seen.sum())} of {len(seen)} samples, and the others would count as wrong: "
            "remove trainer.limit_predict_batches and trainer.fast_dev_run",
            key="trainer.limit_predict_batches",
            kind="conflict",
        )
    return predictor.logits[data.predicted]


def spread(values: Tensor, ids: Tensor, count: int) -> Tensor:
    """(count, ...) tensor that holds ``values`` at the rows ``ids`` and NaN at all others."""
    return values.new_full((count, *values.shape[1:]), float("nan")).index_copy_(0, ids, values)
