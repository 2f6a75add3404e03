"""SCRUB (Kurmanji et al., NeurIPS 2023, arXiv:2302.09880)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

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

    Instead of passes, ``forget_steps`` counts the maximising steps, as the corrective benchmark does (Goel et al.,
    2024, arXiv:2402.14015): every epoch begins with an equal share of them, rounded up, until all are taken. A forget
    set of fewer batches starts again for that.

    A forget error above that of unseen samples of the same kind would reveal which samples were forgotten. With
    ``rewind`` (SCRUB+R) the run therefore ends by going back to the epoch, including the original model as epoch 0,
    whose forget error is nearest to the final model's error on validation samples of the classes that occur in the
    forget set; ties go to the latest epoch.

    Args:
        model: as in ``Method``, like the other options.
        alpha: weight of the divergence on retain data.
        gamma: weight of the cross-entropy on retain data.
        temperature: T.
        msteps: forget passes; None if ``forget_steps`` is given.
        forget_steps: forget steps in all, however many batches the forget set has; None if ``msteps`` is given.
        rewind: see above; keeps the weights after every epoch and looks at validation data.

    Raises ``UserError`` unless exactly one of ``msteps`` and ``forget_steps`` is given.
    """

    def __init__(
        self,
        model: nn.Module,
        alpha: NonNegative = 0.5,
        gamma: NonNegative = 1.0,
        temperature: Positive = 4.0,
        msteps: CountOrNone | None = 2,
        forget_steps: Count | None = None,
        rewind: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(model, alpha, gamma, temperature, **options)
        if (msteps is None) == (forget_steps is None):
            raise UserError(
                "set exactly one of method.msteps (passes) and method.forget_steps (steps), the other to null",
                key="method.msteps",
                kind="conflict",
            )
        self.openings: list[int | None]  # steps of each maximising pass; None: as many as the forget set has batches
        if forget_steps is None:
            self.openings = [None] * min(msteps or 0, self.epochs)
        else:
            share = math.ceil(forget_steps / self.epochs)
            self.openings = [min(share, forget_steps - taken) for taken in range(0, forget_steps, share)]
        self.rewind = rewind
        if rewind:
            self.feed = replace(self.feed, looks=("forget", "validation"))
        if not self.openings:
            self.feed = replace(self.feed, streams=("retain",))
        self.errors: list[Tensor] = []  # forget error after each epoch, the original first
        self.states: list[dict[str, Tensor]] = []  # weights after each epoch

    def phases(self) -> Sequence[Phase]:
        forget = replace(self.feed, streams=("forget",))
        minimise = Phase("minimise", replace(self.feed, streams=("retain",)))
        maximise = {
            steps: Phase("maximise", replace(forget, steps=steps), scheduled=False) for steps in set(self.openings)
        }
        opened = [phase for steps in self.openings for phase in (maximise[steps], minimise)]
        return [*opened, *[minimise] * (self.epochs - len(self.openings))]

    @property
    def always_draws(self) -> Sequence[str]:
        return () if self.openings else ("retain",)

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
