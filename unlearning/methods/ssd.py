"""Selective Synaptic Dampening (Foster et al., AAAI 2024, arXiv:2308.07707)."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..importance import assign, dampened, flatten
from ..types import Batch
from .base import OneShot


class SSD(OneShot):
    """Dampen the weights that matter much more to the forget set than to the reference set.

    With importances ``I_S = mean over batches of S of (d CE / d w)^2``, each weight with ``I_f > alpha I_ref`` becomes
    ``w min(lam I_ref / I_f, 1)``. The reference is the whole training set (the paper) or the retain set. Importances of
    batch-mean gradients depend on the batch size and on the order of the samples, so neither is left implicit: batches
    of ``batch_size``, shuffled. BatchNorm statistics are untouched.
    """

    def __init__(
        self,
        model: nn.Module,
        alpha: float = 10.0,
        lam: float = 1.0,
        reference: Literal["train", "retain"] = "train",
        **options: object,
    ) -> None:
        super().__init__(model, **options)
        self.alpha, self.lam, self.reference = alpha, lam, reference
        self.streams = ("forget", reference)

    def importance_loss(self, batch: Batch) -> Tensor:
        """The scalar whose squared gradient is a batch's importance."""
        return F.cross_entropy(self.model(batch.images), batch.labels)

    def observe(self, stream: str, batch: Batch) -> None:
        gradients = torch.autograd.grad(self.importance_loss(batch), list(self.model.parameters()))
        self.add(stream, flatten(gradients).square_())
        self.add(f"{stream}_batches", torch.ones((), device=self.device))

    def edit(self) -> None:
        seen = self.observations
        forget, reference = (seen[s] / seen[f"{s}_batches"] for s in self.streams)
        parameters = list(self.model.parameters())
        assign(parameters, dampened(flatten(parameters), forget, reference, self.alpha, self.lam))
