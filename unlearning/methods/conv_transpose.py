"""CT: transposed kernels, in the form that the feasible updates paper (arXiv:2511.02435) has among its baselines."""

from typing import Any

import torch
from torch import nn

from ..errors import UserError
from .finetune import FineTune


class ConvTranspose(FineTune):
    """Transpose the kernels of all convolutions, ``W[o, i, h, w] <- W[o, i, w, h]``, then fine-tune on the retain set.

    The weights keep their distribution and lose their function. Kernels that are not square stay as they are. A model
    without a square kernel larger than 1 x 1 is refused. Two weights are exchanged only if no add-on holds either of
    them.

    Raises ``UserError`` for a model without such a kernel.
    """

    stronger = {}  # its steps repair

    def __init__(self, model: nn.Module, **options: Any) -> None:
        super().__init__(model, **options)
        if not self.kernels():
            raise UserError(
                "conv_transpose transposes square kernels, and the model has none: try msg or finetune",
                key="model",
                kind="conflict",
            )

    def kernels(self) -> list[nn.Parameter]:
        """The kernels that have something to transpose."""
        layers = [m for m in self.model.modules() if isinstance(m, nn.Conv2d)]
        square = [m for m in layers if m.kernel_size[0] == m.kernel_size[1] > 1]
        return [p for m in square for p in m.parameters() if p is m.weight and p.requires_grad]

    def on_train_start(self) -> None:
        if not self.resumed:
            self.transpose()

    @torch.no_grad()
    def transpose(self) -> None:
        """Transpose each kernel where it is free."""
        free = self.free()
        for kernel in self.kernels():
            kernel.copy_(torch.where(free[kernel] & free[kernel].mT, kernel.mT, kernel))
