"""How a run computes: the trainer's settings, and the trainers made from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import lightning as L

from ..config.build import Spec
from ..errors import UserError
from .key import numerics

if TYPE_CHECKING:
    from ..methods.base import Method  # here, so that the keys of predictions do not follow the methods

OURS = ("threads", "processes", "predict_batch_size")  # settings of the trainer that are not Lightning's


@dataclass(frozen=True)
class Compute:
    """The trainer's settings as the configuration has them.

    Args:
        settings: a ``_target_``, its arguments, and those in ``OURS``.
    """

    settings: Mapping[str, Any]

    @cached_property
    def numerics(self) -> dict[str, Any]:
        """The settings that decide results."""
        return numerics(self.settings)

    @property
    def predict_batch_size(self) -> int:
        """Samples in a batch of predictions and of looks."""
        return int(self.settings.get("predict_batch_size", 256))

    def trainer(self, epochs: int = 0, callbacks: Sequence[L.Callback] = ()) -> L.Trainer:
        """A trainer that writes nothing by itself and asks the data module for its loaders before every epoch."""
        found: L.Trainer = (
            Spec("trainer", self.settings)
            .without(*OURS)
            .build(
                max_epochs=epochs,
                callbacks=list(callbacks),
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                reload_dataloaders_every_n_epochs=1,
            )
        )
        return found

    def check(self, method: Method) -> None:
        """Raise a ``UserError`` where Lightning cannot make a method's steps as the settings want them."""
        if method.automatic_optimization:
            return
        own = "+".join(type(part).__name__ for part in (method, *method.addons))
        if self.settings.get("precision") in ("16-mixed", "16", 16):
            raise UserError(
                f"{own} takes its own optimiser steps, so trainer.precision=16-mixed cannot be used: set "
                "trainer.precision=bf16-mixed or 32-true",
                key="trainer.precision",
                kind="conflict",
            )
        for name, nothing in (("gradient_clip_val", None), ("accumulate_grad_batches", 1)):
            if self.settings.get(name) not in (None, nothing):
                raise UserError(
                    f"{own} takes its own optimiser steps, so trainer.{name}={self.settings[name]} cannot be used: "
                    "remove it",
                    key=f"trainer.{name}",
                    kind="conflict",
                )
