"""What an add-on may change in a first-order method."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import lightning as L
import torch
from torch import Tensor, nn

from ..types import Batch


class Addon(L.Callback):
    """Something that changes how any first-order method steps; add-ons stack in the order given.

    Besides the three methods here an add-on is a Lightning callback: it may prepare in ``on_fit_start``, edit gradients
    in ``on_before_optimizer_step`` and hold coordinates in ``on_train_batch_end``. What it declares to see of the data
    counts as the run's, with what the method declares.
    """

    looks: Sequence[str] = ()  # streams it looks at by itself; see ``look``
    sees_labels = False  # whether with their labels
    splits_gradients = False  # True: asks for the forget and retain gradients apart, and gets ``combine`` called

    def combine(self, combined: list[Tensor], gradients: dict[str, list[Tensor]]) -> list[Tensor]:
        """The step's gradient, by parameter, from the one so far and the separate (unweighted) ones by stream."""
        return combined

    def penalty(self, method: L.LightningModule) -> Tensor | float:
        """A term of the loss that depends on the weights alone; ``method.model`` holds them."""
        return 0.0

    def look(self, trainer: L.Trainer, stream: str) -> Iterator[Batch]:
        """One pass over a stream that the add-on declares, un-augmented and in order, whatever the method may see."""
        return trainer.datamodule.batches_for(trainer.lightning_module, stream, self)

    def wrap_optimizer(self, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        return optimizer


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that a method steps on, in the order of every list of gradients."""
    return [p for p in model.parameters() if p.requires_grad]
