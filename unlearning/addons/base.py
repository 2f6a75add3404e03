"""The contract of add-ons: what they may change in the steps of a first-order method."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import cast

import lightning as L
import torch
from torch import Tensor

from ..errors import UserError
from ..types import Batch, Gradients, Steps


class Addon(L.Callback):
    """A change to the steps of any first-order method; add-ons stack in the order given.

    A subclass overrides the hooks that it needs: ``start`` to prepare before the first step, ``gradients``, ``combine``
    or ``before_step`` to change the gradient of a step, ``penalty`` to add to its loss, ``after_step`` to change the
    weights. State that lasts from step to step belongs in ``state_dict``.

    All processes of a run must make the same decisions: an add-on receives gradients that are averaged over the
    processes, and draws random numbers from ``CommonRandom``. The data that an add-on declares to see are reported as
    seen by the run, like those that the method declares.
    """

    looks: Sequence[str] = ()  # streams that the add-on itself looks at; see ``look``
    sees_labels = False  # whether it sees their labels
    splits_gradients = False  # True: the step has a gradient for each stream, and ``gradients`` and ``combine`` run
    needs: Sequence[str] = ()  # streams whose gradients it needs in every step
    holds = False  # True: ``combine`` runs before, and ``after_step`` after, those of all other add-ons
    moves = False  # True: it changes weights before the first step, and runs before the other add-ons that hold some
    frozen: Tensor | None = None  # (n,) bool over the trainable weights: those that it keeps at their values

    def check(self, method: Steps) -> None:
        """Raise a ``UserError`` if the method cannot carry this add-on."""
        if not set(self.needs) <= set(method.always_draws):
            raise UserError(
                f"the add-on {type(self).__name__} needs batches of {' and '.join(self.needs)} in every step, and "
                f"{type(method).__name__} has {' and '.join(method.streams) or 'none'}: choose a method such as "
                "neggrad_plus",
                key="addon",
                kind="conflict",
            )

    def start(self, method: Steps) -> None:
        """Prepare before the first step, when the model is on its device and a checkpoint's state is in place."""

    def before_step(self, method: Steps) -> None:
        """Edit the gradients that Lightning's own step is about to take."""

    def gradients(self, method: Steps, evaluate: Callable[[], Gradients]) -> Gradients:
        """The gradients of a step. ``evaluate`` computes them at the weights that the model has when it is called."""
        return evaluate()

    def combine(self, method: Steps, combined: Tensor, gradients: Gradients) -> Tensor:
        """The step's gradient, (n,), from ``combined``, the one so far, and the ``gradients`` of the streams."""
        return combined

    def penalty(self, method: Steps) -> Tensor | float:
        """A term of the loss that depends on nothing but the weights of ``method.model``."""
        return 0.0

    def after_step(self, method: Steps, optimizer: torch.optim.Optimizer) -> None:
        """Change the weights after an optimiser step; runs under ``no_grad``."""

    def look(self, method: Steps, stream: str, shuffle: torch.Generator | None = None) -> Iterator[Batch]:
        """One pass over a stream that the add-on declares in ``looks``, whether or not the method may see it.

        By default the samples are un-augmented and in order. Given ``shuffle`` they come as in training: in the order
        that this generator draws, augmented, in batches of the method's size.
        """
        if shuffle is None:
            return method.look(stream, self)
        return method.look(stream, self, shuffle, augment=True, batch_size=method.batch_size(stream))

    # Lightning's hooks

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.check(cast(Steps, pl_module))

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.start(cast(Steps, pl_module))

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        self.before_step(cast(Steps, pl_module))
