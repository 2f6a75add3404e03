"""Weight saliency (SalUn; Fan et al., ICLR 2024, arXiv:2310.12508)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import UserError
from ..gradients.vectors import flatten, smallest, trainable, weights_of
from ..types import Fraction, Steps
from .holder import Hold, Holder


class Saliency(Holder):
    """Change only the weights that matter most to the forget set; all others stay bit-equal.

    The mask is fixed before training: of all parameters together, except those that other add-ons hold (``prune``), the
    share ``keep`` with the largest ``|sum over D_f of d CE / d theta|`` may change. The sum is over signed gradients,
    in eval mode. It takes one forward and one backward pass over the forget set, with labels, whether or not the method
    itself sees them. The weights are the original model's: a method that begins by replacing them is refused.

    Args:
        keep: the share of the weights that may change.
        hold: as in ``Holder``; with ``gradients`` the others need not stay bit-equal.
    """

    looks = ("forget",)
    sees_labels = True

    def __init__(self, keep: Fraction = 0.5, hold: Hold = "weights") -> None:
        super().__init__(hold)
        self.keep = keep

    def check(self, method: Steps) -> None:
        super().check(method)
        if method.replaces:
            raise UserError(
                f"saliency chooses among the original model's weights, which {type(method).__name__} replaces before "
                "the first step: remove the add-on, or choose a method that goes on from them, such as random_label",
                key="addon",
                kind="conflict",
            )

    def prepare(self, method: Steps) -> None:
        with method.meter.item("saliency"):
            parameters = trainable(method.model)
            self.values = weights_of(method.model)
            total = torch.zeros_like(self.values)
            method.model.eval()
            for batch in self.look(method, "forget"):
                loss = F.cross_entropy(method.model(batch.images), batch.targets, reduction="sum")
                total += flatten(torch.autograd.grad(loss, parameters, materialize_grads=True))
            self.frozen = least(total.abs_(), flatten(method.free().values()), self.keep)


def least(salience: Tensor, free: Tensor, keep: float) -> Tensor:
    """Mask (n,) of the weights to freeze: those that are not free, and all but the most salient of those that are.

    ``salience`` (n,) is not negative and ``free`` (n,) is bool. The share ``keep`` of the free weights, to the nearest
    weight, is not frozen.
    """
    count = free.sum(dtype=torch.float64)
    spared = len(free) - count + ((1 - keep) * count).round()
    return smallest(salience.masked_fill(~free, -1.0), spared)
