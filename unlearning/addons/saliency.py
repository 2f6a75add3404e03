"""Weight saliency (SalUn; Fan et al., ICLR 2024, arXiv:2310.12508)."""

from __future__ import annotations

import lightning as L
import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import UserError
from ..importance import flatten, parts
from .base import Gradients, Holder, trainable, weights_of


class Saliency(Holder):
    """Unlearn only through the weights that matter most to the forget set; all others stay bit-equal.

    The mask is fixed before training: ``m = 1[|sum over D_f of d CE / d theta| >= its (1 - keep) quantile]``, the
    gradient summed with its sign in eval mode, the quantile taken over all parameters together. It takes one pass
    forward and backward over the forget set, with labels, whatever the method itself may see.
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
            self.frozen = least(total.abs_(), self.keep)


class BatchSaliency(Holder):
    """Take each step only through the weights that matter most to its own forget batch.

    In each parameter tensor ``m = 1[|g_u| >= its (1 - keep) quantile]``, ``g_u`` being the gradient of the method's
    loss of the forget batch: for NegGrad+ and gradient ascent that is ``|d CE / d theta|``. The other weights do not
    move in this step. A method whose steps have no forget batch of their own is refused.
    """

    splits_gradients = True
    needs = ("forget",)

    def __init__(self, keep: float = 0.5) -> None:
        super().__init__()
        self.keep = checked_share(keep)

    def on_train_start(self, trainer: L.Trainer, method: L.LightningModule) -> None:
        """Nothing: every step has its own mask."""

    def combine(self, method: L.LightningModule, combined: Tensor, gradients: Gradients) -> Tensor:
        salience = gradients["forget"].abs()
        self.frozen = torch.cat([least(p.flatten(), self.keep) for p in parts(salience, trainable(method.model))])
        self.values = weights_of(method.model)
        method.curves["saliency_batch/mask_ratio"].append(1 - self.frozen.mean(dtype=combined.dtype))
        return combined.masked_fill(self.frozen, 0.0)


def checked_share(keep: float) -> float:
    """``keep``, if it is a share of weights."""
    if not 0 < keep <= 1:
        raise UserError(f"keep is the share of weights that may change, in (0, 1], not {keep}")
    return keep


def least(salience: Tensor, keep: float) -> Tensor:
    """Which values of a vector are not among its largest, of which there is a share ``keep``; (n,) bool."""
    count = int((1 - keep) * len(salience))
    return salience <= (salience.kthvalue(count).values if count else -1.0)
