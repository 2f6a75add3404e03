"""SCRUB (Kurmanji et al., NeurIPS 2023, arXiv:2302.09880)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError, require_at_least
from ..types import Batch
from .scrub_joint import ScrubJoint


class Scrub(ScrubJoint):
    """Move away from the teacher on forget data, stay with it on retain data, in alternating passes.

    Each of the first ``msteps`` epochs opens with a pass over the forget set that maximises
    ``KL_T(teacher || student)``; every epoch passes over the retain set and minimises
    ``gamma CE + alpha KL_T(teacher || student)``. ``KL_T`` softens both by the temperature T and is multiplied by T^2.
    The teacher is the original model, frozen.

    Instead of passes, ``forget_steps`` counts the maximising steps, as the corrective benchmark does (Goel et al.,
    2024, arXiv:2402.14015): every epoch opens with an equal share of them, rounded up, until all are taken. A forget
    set of fewer batches begins anew for that.

    A forget error above that of unseen samples of the same kind would tell who was forgotten. So ``rewind`` (SCRUB+R)
    goes back, in the end, to the epoch, the original model as epoch 0 included, whose forget error is nearest to the
    final model's error on validation samples of the classes that occur in the forget set; to the latest of equals.

    Args:
        model: as in ``Method``; so are the options.
        alpha: weight of the divergence on retain data.
        gamma: weight of the cross-entropy on retain data.
        temperature: T.
        msteps: forget passes; None where ``forget_steps`` is given.
        forget_steps: forget steps in all, instead, however many batches the forget set has.
        rewind: see above; it keeps the weights after every epoch and looks at validation data.
    """

    def __init__(
        self,
        model: nn.Module,
        alpha: float = 0.5,
        gamma: float = 1.0,
        temperature: float = 4.0,
        msteps: int | None = 2,
        forget_steps: int | None = None,
        rewind: bool = False,
        **options: object,
    ) -> None:
        super().__init__(model, alpha, gamma, temperature, **options)
        if (msteps is None) == (forget_steps is None):
            raise UserError(
                "SCRUB counts its maximising by method.msteps (passes) or method.forget_steps (steps): "
                "give one of them, and null for the other"
            )
        self.openings: list[int | None]  # steps of each maximising pass; None: as many as the forget set has batches
        if forget_steps is None:
            require_at_least(0, msteps=msteps)
            self.openings = [None] * min(msteps, self.epochs)
        else:
            require_at_least(1, forget_steps=forget_steps)
            share = math.ceil(forget_steps / self.epochs)
            self.openings = [min(share, forget_steps - taken) for taken in range(0, forget_steps, share)]
        self.rewind = rewind
        self.looks = ("forget", "validation") if rewind else ()
        self.errors: list[Tensor] = []  # on the forget set, after epoch 0, 1, ...
        self.states: list[dict[str, Tensor]] = []  # of the model then

    @property
    def passes(self) -> int:
        return self.epochs + len(self.openings)

    @property
    def maximising(self) -> bool:
        """Whether the current pass is one over the forget set."""
        return self.current_epoch % 2 == 0 and self.current_epoch < 2 * len(self.openings)

    @property
    def streams(self) -> Sequence[str]:
        return ("forget",) if self.maximising else ("retain",)

    @property
    def always_draws(self) -> Sequence[str]:
        return () if self.openings else ("retain",)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of a retain pass: the schedule stands still while the forget passes run."""
        return self.steps_over(["retain"])

    @property
    def wanted_steps(self) -> int | None:
        return self.openings[self.current_epoch // 2] if self.maximising else None

    def lr_scheduler_step(self, scheduler, metric) -> None:
        if not self.maximising:
            super().lr_scheduler_step(scheduler, metric)

    def on_train_batch_start(self, batch: dict[str, Batch], batch_idx: int) -> int | None:
        return -1 if batch_idx == self.wanted_steps else None  # -1: Lightning goes on to the next pass

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
        if self.rewind and not self.maximising:
            self.keep_state()

    def on_train_end(self) -> None:
        if self.rewind:
            classes = torch.cat([batch.labels for batch in self.look("forget")]).unique()
            reference = self.error(b for b in map(partial(of_classes, classes), self.look("validation")) if len(b.ids))
            distances = (torch.stack(self.errors) - reference.cpu()).abs()
            self.model.load_state_dict(self.states[int((distances == distances.min()).nonzero().max())])
        super().on_train_end()

    def keep_state(self) -> None:
        error = self.error(self.look("forget"))
        self.curves["forget_error"].append(error)
        self.errors.append(error.cpu())
        self.states.append({name: tensor.to("cpu", copy=True) for name, tensor in self.model.state_dict().items()})

    def look(self, stream: str) -> Iterator[Batch]:
        """One pass over a stream, un-augmented."""
        return self.trainer.datamodule.batches_for(self, stream)

    @torch.no_grad()
    def error(self, batches: Iterable[Batch]) -> Tensor:
        """The share of samples that the model gets wrong, a scalar."""
        self.model.eval()
        wrong = [self.model(batch.images).argmax(1) != batch.labels for batch in batches]
        if not wrong:
            raise UserError(
                "method.rewind=true compares with validation samples of the forgotten classes, and there are none: "
                "raise split.validation"
            )
        return torch.cat(wrong).float().mean()


def of_classes(classes: Tensor, batch: Batch) -> Batch:
    """The samples of a batch that belong to some classes."""
    own = torch.isin(batch.labels, classes)
    return Batch(*(part[own] for part in batch))
