"""Add-ons that keep some coordinates where they are."""

from __future__ import annotations

import lightning as L
import torch
from torch import Tensor

from ..gradients.vectors import parts, trainable
from .base import Addon, Gradients


class Holder(Addon):
    """An add-on that holds coordinates: no step moves them, whatever momentum and weight decay would do.

    A subclass sets ``frozen``, bool, and ``values``, what the frozen weights are held at: vectors over the trainable
    parameters. A frozen coordinate has no gradient, its weight is put back after every optimiser step, and momentum
    that it has gathered (of weight decay) is cleared. Both survive checkpoints.
    """

    holds = True
    MOMENTA = ("momentum_buffer", "exp_avg")  # first moments, as torch's optimisers call them

    def __init__(self) -> None:
        self.frozen: Tensor | None = None
        self.values: Tensor | None = None

    def on_before_optimizer_step(self, trainer: L.Trainer, method: L.LightningModule, _: torch.optim.Optimizer) -> None:
        parameters = trainable(method.model)
        for parameter, frozen in zip(parameters, parts(self.frozen, parameters), strict=True):
            if parameter.grad is not None:
                parameter.grad.masked_fill_(frozen, 0.0)

    def combine(self, method: L.LightningModule, combined: Tensor, gradients: Gradients) -> Tensor:
        return combined.masked_fill(self.frozen, 0.0)

    def after_step(self, method: L.LightningModule, optimizer: torch.optim.Optimizer) -> None:
        parameters = trainable(method.model)
        held = parts(self.frozen, parameters), parts(self.values, parameters)
        for parameter, frozen, value in zip(parameters, *held, strict=True):
            torch.where(frozen, value, parameter, out=parameter)
            for name in self.MOMENTA:
                if isinstance(moment := optimizer.state[parameter].get(name), Tensor):
                    moment.masked_fill_(frozen, 0.0)

    def state_dict(self) -> dict[str, Tensor | None]:
        return {"frozen": self.frozen, "values": self.values}

    def load_state_dict(self, state: dict[str, Tensor | None]) -> None:
        self.frozen, self.values = state["frozen"], state["values"]

    def on_train_start(self, trainer: L.Trainer, method: L.LightningModule) -> None:
        """Prepare what is frozen, unless a checkpoint brought it."""
        if self.frozen is None:
            self.prepare(trainer, method)
        else:
            self.frozen, self.values = self.frozen.to(method.device), self.values.to(method.device)

    def prepare(self, trainer: L.Trainer, method: L.LightningModule) -> None:
        """Set ``frozen`` and ``values``."""
        raise NotImplementedError
