"""Weight saliency anew for each batch (after SalUn; Fan et al., ICLR 2024, arXiv:2310.12508)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..gradients.vectors import parts, weights_of
from ..types import Fraction, Gradients, Steps
from .holder import Holder
from .saliency import least


class BatchSaliency(Holder):
    """Change in each step only the weights that matter most to the forget batch of that step.

    In each parameter tensor, except for weights that other add-ons hold (``prune``), the share ``keep`` with the
    largest ``|g_u|`` may move in this step. ``g_u`` is the gradient of the method's own loss of the forget batch. For
    NegGrad+ and gradient ascent that is the cross-entropy, as in SalUn; for random labels or a distillation this
    saliency differs from SalUn's. A method whose steps have no forget batch of their own is refused.

    Curve: ``saliency_batch/mask_ratio``, the share of all weights that may move.

    Args:
        keep: the share of the weights of each tensor that may move.
    """

    splits_gradients = True
    needs = ("forget",)

    def __init__(self, keep: Fraction = 0.5) -> None:
        super().__init__()
        self.keep = keep

    def start(self, method: Steps) -> None:
        """Do nothing: every step has its own mask."""

    def combine(self, method: Steps, combined: Tensor, gradients: Gradients) -> Tensor:
        self.frozen = None  # the mask of the previous step does not limit this one
        free = method.free()
        saliences = parts(gradients["forget"].abs(), list(free))
        self.frozen = torch.cat(
            [least(s.flatten(), f.flatten(), self.keep) for s, f in zip(saliences, free.values(), strict=True)]
        )
        self.values = weights_of(method.model)
        method.curves["saliency_batch/mask_ratio"].append(1 - self.frozen.mean(dtype=combined.dtype))
        return super().combine(method, combined, gradients)
