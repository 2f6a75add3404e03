"""Logits of samples, each once: all but the metrics that need weights are functions of them."""

import lightning as L
import torch
from torch import Tensor, nn

from ..data.datamodule import UnlearningData
from ..types import Batch


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

    def gathered(self, tensor: Tensor) -> Tensor:
        """The tensors of all processes, stacked, on the CPU."""
        return self.all_gather(tensor.to(self.device)).cpu()


def predict(network: nn.Module, trainer: L.Trainer, data: UnlearningData) -> Tensor:
    """(len(data.predicted), C) float32 logits of these samples, un-augmented, in eval mode.

    The trainer's precision and processes are those of training; its precision may round the network's weights.
    """
    predictor = Predictor(network.eval(), len(data.dataset.labels), data.task.num_classes)
    trainer.predict(predictor, datamodule=data, return_predictions=False)
    return predictor.logits[data.predicted]
