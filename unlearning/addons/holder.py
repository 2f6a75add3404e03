"""Add-ons that keep some coordinates where they are."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..gradients.vectors import parts, trainable
from ..types import Gradients, Steps
from .base import Addon

Hold = Literal["weights", "gradients"]


class Holder(Addon):
    """An add-on that keeps some weights at fixed values, against gradients, momentum and weight decay.

    A subclass sets ``frozen``, bool, and ``values``, at which the frozen weights are held: vectors (n,) over the
    trainable parameters. The gradient of a frozen weight is zero; after every optimiser step its value is restored and
    its momentum, which weight decay may have built up, is cleared. Checkpoints hold both vectors.

    Args:
        hold: ``weights``, as above; or no more than their ``gradients``, so that momentum, that of Adam too, and weight
            decay go on moving them, as in the feasible updates code.
    """

    holds = True
    MOMENTA = ("momentum_buffer", "exp_avg")  # first moments, as torch's optimisers call them

    def __init__(self, hold: Hold = "weights") -> None:
        self.hold = hold
        self.frozen: Tensor | None = None
        self.values: Tensor | None = None

    def held(self) -> tuple[Tensor, Tensor]:
        """``frozen`` and ``values``; both must be set."""
        assert self.frozen is not None, "set by prepare"
        assert self.values is not None, "set by prepare"
        return self.frozen, self.values

    def before_step(self, method: Steps) -> None:
        parameters = trainable(method.model)
        for parameter, frozen in zip(parameters, parts(self.held()[0], parameters), strict=True):
            if parameter.grad is not None:
                parameter.grad.masked_fill_(frozen, 0.0)

    def combine(self, method: Steps, combined: Tensor, gradients: Gradients) -> Tensor:
        return combined.masked_fill(self.held()[0], 0.0)

    def after_step(self, method: Steps, optimizer: torch.optim.Optimizer) -> None:
        if self.hold == "gradients":
            return
        parameters = trainable(method.model)
        masks, values = (parts(vector, parameters) for vector in self.held())
        for parameter, frozen, value in zip(parameters, masks, values, strict=True):
            torch.where(frozen, value, parameter, out=parameter)
            for name in self.MOMENTA:
                if isinstance(moment := optimizer.state[parameter].get(name), Tensor):
                    moment.masked_fill_(frozen, 0.0)

    def state_dict(self) -> dict[str, Tensor | None]:
        return {"frozen": self.frozen, "values": self.values}

    def load_state_dict(self, state_dict: dict[str, Tensor | None]) -> None:
        self.frozen, self.values = state_dict["frozen"], state_dict["values"]

    def start(self, method: Steps) -> None:
        """Prepare what is frozen, unless a checkpoint has restored it."""
        if self.frozen is None:
            self.prepare(method)
        else:
            frozen, values = self.held()
            self.frozen, self.values = frozen.to(method.device), values.to(method.device)

    def prepare(self, method: Steps) -> None:
        """Set ``frozen`` and ``values``."""
        raise NotImplementedError
