"""What an add-on may change in a first-order method."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import lightning as L
import torch
from torch import Tensor

from ..errors import UserError
from ..types import Batch

Gradients = dict[str, Tensor]  # of the loss of each stream: vectors over the trainable parameters, unweighted


class Addon(L.Callback):
    """Something that changes how any first-order method steps; add-ons stack in the order given.

    Besides the methods here an add-on is a Lightning callback: it may prepare in ``on_train_start`` and edit gradients
    in ``on_before_optimizer_step``; what it carries from step to step belongs into ``state_dict``. All processes of a
    run must come to the same decisions: gradients are averaged before an add-on gets them, and random numbers are drawn
    from ``CommonRandom``. What it declares to see of the data counts as the run's, with what the method declares.
    """

    looks: Sequence[str] = ()  # streams it looks at by itself; see ``look``
    sees_labels = False  # whether with their labels
    splits_gradients = False  # True: asks for the gradients by stream, and gets ``gradients`` and ``combine`` called
    needs: Sequence[str] = ()  # streams whose gradients it needs in every step
    holds = False  # True: its ``combine`` comes before and its ``after_step`` after those of all others
    moves = False  # True: it changes weights before the first step; of those that hold it is the first

    def check(self, method: L.LightningModule) -> None:
        """Raise a ``UserError`` if the method cannot carry this add-on."""
        if not set(self.needs) <= set(method.always_draws):
            wanted, drawn = (" and a ".join(f"{s} batch" for s in streams) for streams in (self.needs, method.streams))
            raise UserError(
                f"the add-on {type(self).__name__} needs a {wanted} in every step, and {type(method).__name__} "
                f"{'takes a ' + drawn if drawn else 'takes none'}: choose a method such as neggrad_plus"
            )

    def setup(self, trainer: L.Trainer, method: L.LightningModule, stage: str) -> None:
        self.check(method)

    def gradients(self, method: L.LightningModule, evaluate: Callable[[], Gradients]) -> Gradients:
        """The gradients of a step; ``evaluate`` computes them at the weights as they are when it is called."""
        return evaluate()

    def combine(self, method: L.LightningModule, combined: Tensor, gradients: Gradients) -> Tensor:
        """The step's gradient, a vector, from the one so far and the separate ones."""
        return combined

    def penalty(self, method: L.LightningModule) -> Tensor | float:
        """A term of the loss that depends on the weights alone; ``method.model`` holds them."""
        return 0.0

    def after_step(self, method: L.LightningModule, optimizer: torch.optim.Optimizer) -> None:
        """Change the weights after an optimiser step; runs under ``no_grad``."""

    def look(self, trainer: L.Trainer, stream: str, shuffle: torch.Generator | None = None) -> Iterator[Batch]:
        """One pass over a stream that the add-on declares, whatever the method may see.

        It is un-augmented and in order; or, given a generator to shuffle by, as the method trains on it.
        """
        method, look = trainer.lightning_module, trainer.datamodule.batches_for
        if shuffle is None:
            return look(method, stream, self)
        return look(method, stream, self, shuffle, augment=True, batch_size=method.batch_sizes[stream])
