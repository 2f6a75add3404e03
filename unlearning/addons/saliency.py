"""Weight saliency (SalUn; Fan et al., ICLR 2024, arXiv:2310.12508)."""

from __future__ import annotations

import lightning as L
import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import UserError
from ..gradients.vectors import flatten, parts, smallest, trainable, weights_of
from .base import Gradients
from .holder import Holder


class Saliency(Holder):
    """Unlearn only through the weights that matter most to the forget set; all others stay bit-equal.

    The mask is fixed before training: of all parameters together, less what other add-ons hold (``prune``), the share
    ``keep`` with the largest ``|sum over D_f of d CE / d theta|`` may change, the gradient summed with its sign in eval
    mode. It takes one pass forward and backward over the forget set, with labels, whatever the method itself may see.
    """

    looks = ("forget",)
    sees_labels = True

    def __init__(self, keep: float = 0.5) -> None:
        super().__init__()
        self.keep = checked_share(keep)

    def prepare(self, trainer: L.Trainer, method: L.LightningModule) -> None:
        with method.meter.item("saliency"):
            parameters = trainable(method.model)
            self.values = weights_of(method.model)
            total = torch.zeros_like(self.values)
            method.model.eval()
            for batch in self.look(trainer, "forget"):
                loss = F.cross_entropy(method.model(batch.images), batch.labels, reduction="sum")
                total += flatten(torch.autograd.grad(loss, parameters, materialize_grads=True))
            self.frozen = least(total.abs_(), flatten(method.free().values()), self.keep)


class BatchSaliency(Holder):
    """Take each step only through the weights that matter most to its own forget batch.

    In each parameter tensor, less what other add-ons hold (``prune``), the share ``keep`` with the largest ``|g_u|``
    may move in this step, ``g_u`` being the gradient of the method's own loss of the forget batch. For NegGrad+ and
    gradient ascent that is the cross-entropy, as SalUn has it; for random labels or a distillation it is another
    saliency than SalUn's. A method whose steps have no forget batch of their own is refused.

    Curve: ``saliency_batch/mask_ratio``, the share of all weights that may move.
    """

    splits_gradients = True
    needs = ("forget",)

    def __init__(self, keep: float = 0.5) -> None:
        super().__init__()
        self.keep = checked_share(keep)

    def on_train_start(self, trainer: L.Trainer, method: L.LightningModule) -> None:
        """Nothing: every step has its own mask."""

    def combine(self, method: L.LightningModule, combined: Tensor, gradients: Gradients) -> Tensor:
        self.frozen = None  # the choice of the step before binds this one no more
        free = method.free()
        saliences = parts(gradients["forget"].abs(), list(free))
        self.frozen = torch.cat(
            [least(s.flatten(), f.flatten(), self.keep) for s, f in zip(saliences, free.values(), strict=True)]
        )
        self.values = weights_of(method.model)
        method.curves["saliency_batch/mask_ratio"].append(1 - self.frozen.mean(dtype=combined.dtype))
        return super().combine(method, combined, gradients)


def checked_share(keep: float) -> float:
    """``keep``, if it is a share of weights."""
    if not 0 < keep <= 1:
        raise UserError(f"keep is the share of weights that may change, in (0, 1], not {keep}")
    return keep


def least(salience: Tensor, free: Tensor, keep: float) -> Tensor:
    """Which values, none negative, are not among the largest of those ``free``, the share ``keep`` of them; (n,) bool.

    ``free`` is (n,) bool; the share is to the nearest value. What is not free is among the least.
    """
    count = free.sum(dtype=torch.float64)
    spared = len(free) - count + ((1 - keep) * count).round()
    return smallest(salience.masked_fill(~free, -1.0), spared)
