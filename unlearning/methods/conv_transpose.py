"""CT: transposed kernels, as the feasible updates paper (arXiv:2511.02435) has them among its baselines."""

import torch
from torch import nn

from ..errors import UserError
from .finetune import FineTune


class ConvTranspose(FineTune):
    """Transpose the kernels of all convolutions, ``W[o, i, h, w] <- W[o, i, w, h]``, then fine-tune on the retain set.

    So the weights keep their distribution and lose what they had learned. Kernels that are not square stay as they are;
    a model without a square kernel larger than 1 x 1 is refused. Two weights change places only where no add-on holds
    either of them.
    """

    def __init__(self, model: nn.Module, **options: object) -> None:
        super().__init__(model, **options)
        if not self.kernels():
            raise UserError("conv_transpose transposes square kernels, and the model has none: try msg or finetune")

    def kernels(self) -> list[nn.Parameter]:
        """The weights of the convolutions that have something to transpose."""
        layers = [m for m in self.model.modules() if isinstance(m, nn.Conv2d)]
        return [m.weight for m in layers if m.kernel_size[0] == m.kernel_size[1] > 1 and m.weight.requires_grad]

    def on_train_start(self) -> None:
        if not self.resumed:
            self.transpose()

    @torch.no_grad()
    def transpose(self) -> None:
        """Let the weights of each kernel change places."""
        free = self.free()
        for kernel in self.kernels():
            kernel.copy_(torch.where(free[kernel] & free[kernel].mT, kernel.mT, kernel))
