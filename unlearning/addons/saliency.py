"""Weight saliency (SalUn; Fan et al., ICLR 2024, arXiv:2310.12508)."""

import lightning as L
import torch
from torch.nn import functional as F

from ..errors import UserError
from .base import Addon, trainable


class Saliency(Addon):
    """Unlearn only through the weights that matter most to the forget set; all others stay bit-equal.

    The mask is fixed before training: ``m = 1[|sum over D_f of d CE / d theta| >= its (1 - keep) quantile]``, the
    gradient summed with its sign in eval mode, the quantile taken over all parameters together. It takes one pass
    forward and backward over the forget set, with labels, whatever the method itself may see.
    """

    looks = ("forget",)
    sees_labels = True

    def __init__(self, keep: float = 0.5) -> None:
        if not 0 < keep <= 1:
            raise UserError(f"keep is the share of weights that may change, in (0, 1], not {keep}")
        self.keep = keep

    def on_train_start(self, trainer: L.Trainer, method: L.LightningModule) -> None:
        with method.meter.item("saliency"):
            parameters = trainable(method.model)
            total = [torch.zeros_like(p) for p in parameters]
            method.model.eval()
            for batch in self.look(trainer, "forget"):
                loss = F.cross_entropy(method.model(batch.images), batch.labels, reduction="sum")
                torch._foreach_add_(total, torch.autograd.grad(loss, parameters))
            flat = torch.cat([t.abs().flatten() for t in total])
            frozen = int((1 - self.keep) * len(flat))
            threshold = flat.kthvalue(frozen).values if frozen else -1.0
            self.frozen = [t.abs() <= threshold for t in total]
            self.original = [p.detach().clone() for p in parameters]

    def on_before_optimizer_step(self, trainer: L.Trainer, method: L.LightningModule, _: torch.optim.Optimizer) -> None:
        for parameter, frozen in zip(trainable(method.model), self.frozen, strict=True):
            parameter.grad.masked_fill_(frozen, 0.0)

    @torch.no_grad()
    def on_train_batch_end(self, trainer: L.Trainer, method: L.LightningModule, *_: object) -> None:
        # Momentum and weight decay move a weight whose gradient is zero, so the original values are put back.
        for parameter, frozen, original in zip(trainable(method.model), self.frozen, self.original, strict=True):
            torch.where(frozen, original, parameter, out=parameter)
