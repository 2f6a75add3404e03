"""Boundary Shrink with a curvature penalty and weighted samples (arXiv:2505.21872)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..types import Batch, NonNegative, Positive
from .guard import evaluating
from .langevin import Langevin


class EnhancedShrink(Langevin):
    """``langevin`` in which samples count by how clearly their attack succeeds, on a surface that is kept flat.

    ``L_forget = mean_b w_b CE(f(x_b), y'_b) + curvature R``. The weight is ``w = 3 sigmoid(5 (p_2 - p_y - 1/2))`` for
    the original's probabilities at the attacked point: p_y of the sample's own class, p_2 of the most probable other
    one. ``R = mean_b |grad l(u_b + h z_b) - grad l(u_b)|^2`` with l the cross-entropy ``CE(f(u), y')``, u in pixel
    space and z the sign of ``grad l(u)``, scaled to norm 1, is the penalty of Moosavi-Dezfooli et al. (CVPR 2019,
    arXiv:1811.09716, section 4); it is computed in eval mode, so that BatchNorm's statistics do not move.

    Args:
        model: as in ``Langevin``, like the other options.
        curvature: weight of the penalty.
        reach: h.
    """

    def __init__(self, model: nn.Module, curvature: NonNegative = 0.7, reach: Positive = 1.5, **options: Any) -> None:
        super().__init__(model, **options)
        self.curvature, self.reach = curvature, reach

    def forget_loss(self, batch: Batch) -> Tensor:
        attacked, targets = self.nearest(batch)
        smoothing = self.label_smoothing
        losses = F.cross_entropy(self.model(batch.images), targets, reduction="none", label_smoothing=smoothing)
        loss = (crossing(attacked, batch.targets) * losses).mean()
        return loss + self.curvature * self.bend(batch, targets) if self.curvature else loss

    def bend(self, batch: Batch, targets: Tensor) -> Tensor:
        """R, a scalar."""
        box = self.attacked.box

        def slope(pixels: Tensor, graph: bool) -> Tensor:
            loss = F.cross_entropy(self.model(box.inputs(pixels)), targets, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, pixels, create_graph=graph)
            return gradient

        pixels = box.pixels(batch.images).detach().requires_grad_()
        with evaluating(self.model), sdpa_kernel(SDPBackend.MATH):  # the others have no second derivative
            here = slope(pixels, graph=True)
            sign = here.detach().sign()
            size = sign.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, *[1] * (sign.ndim - 1))
            there = slope((pixels + self.reach * sign / size).detach().requires_grad_(), graph=True)
        return (there - here).flatten(1).square().sum(1).mean()


def crossing(logits: Tensor, labels: Tensor) -> Tensor:
    """(B,) the weights of samples of the classes ``labels`` whose attacked points have these logits."""
    probabilities = logits.softmax(1)
    own = probabilities.gather(1, labels[:, None])
    other = probabilities.scatter(1, labels[:, None], 0).amax(1)
    return 3 * (5 * (other - own[:, 0] - 0.5)).sigmoid()
