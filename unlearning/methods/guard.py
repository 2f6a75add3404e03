"""The rule that keeps a method from destroying the model on data for which nobody tuned it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..runtime.distributed import lead

if TYPE_CHECKING:
    from .course import Course

RETAINED, FORGOTTEN = 256, 64  # samples that the rule looks at: once at the end, or after every step
HALVINGS, REFINEMENTS = 12, 3


class Guard:
    """Measures what a model keeps of the original, and takes it back towards the original until it keeps enough.

    What is measured depends on the data that the method sees anyway, so the rule needs no other access:

    * retained samples: the model's accuracy on 256 of them, relative to the original's; without labels, the fraction
      whose predicted class is the original's;
    * forget samples alone, or no data: ``1 - |f - f_0| / |f_0|`` for the logits f, of each sample less their mean, on
      64 forget inputs, or on as many of normal noise. What is done to the retained samples is not seen, and it was
      found to follow this drift.

    Args:
        model: the original model, whose state is copied.
        keep: the least that the model must keep, from 0 to 1.
    """

    def __init__(self, model: nn.Module, keep: float) -> None:
        self.model, self.keep = model, keep
        self.original = {name: value.detach().clone() for name, value in model.state_dict().items()}
        self.begun = False

    def begin(self, method: Course) -> None:
        """Choose the samples, and measure the original there; the model's weights stay as they are."""
        now = self.copied()
        self.original = {name: value.to(now[name]) for name, value in self.original.items()}
        inputs, labels, retained = samples_for(method)
        self.inputs: Tensor = inputs
        self.begun = True
        self.place(now, 0.0)  # a run that is resumed, or an add-on, has other weights by now
        self.before = self.logits()
        self.place(now, 1.0)
        self.targets: Tensor | None = None if not retained else self.before.argmax(1) if labels is None else labels

    def kept(self) -> float:
        """What the model keeps, the same number in every process; 0 where its logits are not finite."""
        return lead(self.measured)

    def measured(self) -> float:
        """``kept`` of this process."""
        now = self.logits()
        if not now.isfinite().all():
            return 0.0
        if self.targets is not None:
            right, before = (int((logits.argmax(1) == self.targets).sum()) for logits in (now, self.before))
            return right / before if before else 1.0
        change, size = centred(now - self.before).norm(), centred(self.before).norm()
        return max(0.0, 1 - float(change / size)) if size else 1.0

    def retreat(self, put: Callable[[float], None]) -> float:
        """Take the model back towards the original, no farther than the rule asks for.

        Returns the part of the way that remains, from 0, the original, to 1: found by halving, and then made longer
        while the rule holds, to an eighth of its length. ``put`` places the model there.
        """
        if self.kept() >= self.keep:
            return 1.0
        part = 1.0
        for _ in range(HALVINGS):
            part /= 2
            put(part)
            if self.kept() >= self.keep:
                break
        else:
            part = 0.0
        longer = part
        for _ in range(REFINEMENTS if part else 0):
            longer /= 2
            put(part + longer)
            part += longer if self.kept() >= self.keep else 0
        put(part)
        return part

    def place(self, end: dict[str, Tensor], part: float) -> None:
        """Put the model on the line from the original to ``end``; counters are those of ``end``."""
        state = {
            name: value if not value.is_floating_point() else start.lerp(value, part) if 0 < part < 1 else start
            for (name, value), start in zip(end.items(), self.original.values(), strict=True)
        }
        self.model.load_state_dict(end if part == 1 else state)

    def copied(self) -> dict[str, Tensor]:
        """A copy of the model's state."""
        return {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    @torch.no_grad()
    def logits(self) -> Tensor:
        """The model's logits on the samples, in eval mode."""
        with evaluating(self.model):
            return torch.cat([self.model(part) for part in self.inputs.split(FORGOTTEN)])


def samples_for(method: Course) -> tuple[Tensor, Tensor | None, bool]:
    """Inputs of data that a method sees, their labels if it sees these, and whether they are retained samples."""
    found = [stream for stream in ("retain", "train", "forget") if stream in method.streams]
    if not found:
        drawn = torch.randn(FORGOTTEN, *method.task.input_shape, generator=method.shuffler())
        return drawn.to(next(method.parameters())), None, False
    retained = found[0] != "forget"
    parts, left = [], RETAINED if retained else FORGOTTEN
    for batch in method.look(found[0], shuffle=method.shuffler()):
        part = batch.select(~batch.forget) if retained else batch
        parts.append(part.select(slice(left)))
        left -= len(parts[-1].ids)
        if left == 0:
            break
    labels = [part.labels for part in parts if part.labels is not None]
    return torch.cat([part.images for part in parts]), torch.cat(labels) if labels else None, retained


def centred(logits: Tensor) -> Tensor:
    """Logits less their mean over the classes, which no prediction depends on."""
    return logits - logits.mean(1, keepdim=True)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Context manager in which a model is in eval mode; restores the mode of each of its modules."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
