"""SCRUB (Kurmanji et al., NeurIPS 2023, arXiv:2302.09880)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..data.feed import Phase
from ..errors import UserError
from ..types import Batch, Count, CountOrNone, NonNegative, Positive
from .scrub_joint import ScrubJoint


class Scrub(ScrubJoint):
    """Move away from the teacher on forget data, stay with it on retain data, in alternating passes.

    Each of the first ``msteps`` epochs begins with a pass over the forget set that maximises
    ``KL_T(teacher || student)``; every epoch passes over the retain set and minimises
    ``gamma CE + alpha KL_T(teacher || student)``. ``KL_T`` softens both by the temperature T and is multiplied by T^2.
    The teacher is the original model, frozen.

    The corrective benchmark (Goel et al., 2024, arXiv:2402.14015) differs in its code. With ``maximise="loss"`` the
    forget passes maximise all that the retain passes minimise, the cross-entropy included. With ``forget_until``
    instead of ``msteps`` every epoch that begins before this step begins with a forget pass, where steps on forget and
    retain data count alike; and the schedule goes on in forget passes, where otherwise it stands still.

    A forget error above that of unseen samples of the same kind would reveal which samples were forgotten. With
    ``rewind`` (SCRUB+R) the run therefore ends by going back to the epoch, including the original model as epoch 0,
    whose forget error is nearest to the final model's error on validation samples of the classes that occur in the
    forget set; ties go to the latest epoch.

    Args:
        model: as in ``Method``, like the other options.
        alpha: weight of the divergence on retain data.
        gamma: weight of the cross-entropy on retain data.
        temperature: T.
        msteps: forget passes; None if ``forget_until`` is given.
        forget_until: see above; None if ``msteps`` is given.
        maximise: what forget passes maximise: the ``divergence`` alone, or the whole ``loss`` of the retain passes.
        rewind: see above; keeps the weights after every epoch and looks at validation data.

    Raises ``UserError`` unless exactly one of ``msteps`` and ``forget_until`` is given.
    """

    def __init__(
        self,
        model: nn.Module,
        alpha: NonNegative = 0.5,
        gamma: NonNegative = 1.0,
        temperature: Positive = 4.0,
        msteps: CountOrNone | None = 2,
        forget_until: Count | None = None,
        maximise: Literal["divergence", "loss"] = "divergence",
        rewind: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(model, alpha, gamma, temperature, **options)
        if (msteps is None) == (forget_until is None):
            raise UserError(
                "set exactly one of method.msteps (passes) and method.forget_until (a step), the other to null",
                key="method.msteps",
                kind="conflict",
            )
        self.msteps, self.forget_until, self.maximise, self.rewind = msteps, forget_until, maximise, rewind
        if rewind:
            self.feed = replace(self.feed, looks=("forget", "validation"))
        if msteps == 0:
            self.feed = replace(self.feed, streams=("retain",))
        self.errors: list[Tensor] = []  # forget error after each epoch, the original first
        self.states: list[dict[str, Tensor]] = []  # weights after each epoch

    def phases(self) -> Sequence[Phase]:
        minimise = Phase("minimise", replace(self.feed, streams=("retain",)))
        maximise = Phase("maximise", replace(self.feed, streams=("forget",)), scheduled=self.msteps is None)
        opened = self.msteps or 0
        if self.forget_until is not None:
            steps = self.data.steps(maximise.feed) + self.data.steps(minimise.feed)
            opened = math.ceil(self.forget_until / steps)
        opened = min(opened, self.epochs)
        return [*[maximise, minimise] * opened, *[minimise] * (self.epochs - opened)]

    @property
    def always_draws(self) -> Sequence[str]:
        return ("retain",) if self.msteps == 0 else ()

    def forget_loss(self, batch: Batch) -> Tensor:
        return -self.retain_loss(batch) if self.maximise == "loss" else super().forget_loss(batch)

    # Rewinding

    def on_train_start(self) -> None:
        if self.rewind and not self.resumed:
            self.keep_state()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["rewinding"] = {"errors": self.errors, "states": self.states}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.errors, self.states = checkpoint["rewinding"]["errors"], checkpoint["rewinding"]["states"]

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        if self.rewind and self.phase.name == "minimise":
            self.keep_state()

    def on_train_end(self) -> None:
        if self.rewind:
            classes = torch.cat([batch.targets for batch in self.look("forget")]).unique()
            alike = (batch.select(torch.isin(batch.targets, classes)) for batch in self.look("validation"))
            reference = self.error(batch for batch in alike if len(batch.ids))
            distances = (torch.stack(self.errors) - reference.cpu()).abs()
            self.model.load_state_dict(self.states[int((distances == distances.min()).nonzero().max())])
        super().on_train_end()

    def keep_state(self) -> None:
        """Keep the weights and the forget error of the epoch that has ended."""
        error = self.error(self.look("forget"))
        self.curves["forget_error"].append(error)
        self.errors.append(error.cpu())
        self.states.append({name: tensor.to("cpu", copy=True) for name, tensor in self.model.state_dict().items()})

    @torch.no_grad()
    def error(self, batches: Iterable[Batch]) -> Tensor:
        """The fraction of samples that the model gets wrong, a scalar.

        Raises ``UserError`` if there are no samples.
        """
        self.model.eval()
        wrong = [self.model(batch.images).argmax(1) != batch.labels for batch in batches]
        if not wrong:
            raise UserError(
                "method.rewind=true compares with validation samples of the forgotten classes, and there are none: "
                "raise split.validation",
                key="split.validation",
            )
        return torch.cat(wrong).float().mean()
