"""Weight saliency anew for each batch (after SalUn; Fan et al., ICLR 2024, arXiv:2310.12508)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import UserError
from ..gradients.vectors import parts, weights_of
from ..types import Batch, Fraction, Gradients, Steps
from .holder import Hold, Holder
from .saliency import least
from .sam import resting_statistics


class BatchSaliency(Holder):
    """Change in each step only the weights that matter most to the forget batch of that step.

    This is the SalUn of the feasible updates paper (arXiv:2511.02435), whose code holds the gradients only. In each
    parameter tensor, except for weights that other add-ons hold (``prune``), the share ``keep`` with the largest
    ``|g|`` may move in this step. ``g`` is the gradient of the forget batch's cross-entropy by its own labels, for
    which every step passes over that batch once more; or of the method's own loss of it, which is the same for NegGrad+
    and gradient ascent, and needs no labels. A method whose steps have no forget batch of their own is refused.

    Curve: ``saliency_batch/mask_ratio``, the share of all weights that may move.

    Args:
        keep: the share of the weights of each tensor that may move.
        of: whose gradient: ``cross_entropy`` or ``loss``; see above.
        hold: as in ``Holder``.
    """

    splits_gradients = True
    needs = ("forget",)

    def __init__(
        self, keep: Fraction = 0.5, of: Literal["cross_entropy", "loss"] = "cross_entropy", hold: Hold = "weights"
    ) -> None:
        super().__init__(hold)
        self.keep, self.of = keep, of
        self.batch: Batch  # that of the current step

    def check(self, method: Steps) -> None:
        super().check(method)
        if self.of == "cross_entropy" and not method.labelled:
            raise UserError(
                f"addon.saliency_batch.of=cross_entropy needs the labels of forget batches, which "
                f"{type(method).__name__} does not see: use addon.saliency_batch.of=loss",
                key="addon.saliency_batch.of",
                kind="conflict",
            )

    def start(self, method: Steps) -> None:
        """Do nothing: every step has its own mask."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: dict[str, Batch], batch_idx: int) -> None:
        self.batch = batch["forget"]

    def combine(self, method: Steps, combined: Tensor, gradients: Gradients) -> Tensor:
        self.frozen = None  # the mask of the previous step does not limit this one
        free = method.free()
        saliences = parts(self.gradient(method, gradients).abs(), list(free))
        self.frozen = torch.cat(
            [least(s.flatten(), f.flatten(), self.keep) for s, f in zip(saliences, free.values(), strict=True)]
        )
        self.values = weights_of(method.model)
        method.curves["saliency_batch/mask_ratio"].append(1 - self.frozen.mean(dtype=combined.dtype))
        return super().combine(method, combined, gradients)

    def gradient(self, method: Steps, gradients: Gradients) -> Tensor:
        """The gradient (n,) whose size is the salience."""
        if self.of == "loss":
            return gradients["forget"]
        with resting_statistics(method.model):
            loss = F.cross_entropy(method.model(self.batch.images), self.batch.targets)
        return method.split_gradients({"forget": loss})["forget"]
