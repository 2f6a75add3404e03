"""CF-k, catastrophic forgetting of the last k layers (Goel et al., 2022, arXiv:2201.06640)."""

from typing import Any

from torch import nn

from ..errors import UserError
from ..models.base import blocks_of
from .finetune import FineTune


class CFk(FineTune):
    """Fine-tune the last k blocks on the retain set; the blocks before them stay as they are.

    The blocks are those that ``models.base.group`` finds in the module tree: a convolution or linear layer with the
    normalisation that follows it, a residual block, a transformer block, the head. In frozen blocks the parameters get
    no gradient, and BatchNorm layers use their running statistics and do not change them.

    The corrective benchmark (Goel et al., 2024, arXiv:2402.14015) counts convolutions and linear layers, and counts
    whole blocks only in a ViT. Its k corresponds to this k as follows:

    ========== ======================== ==================================================
    model      its k                    this k
    ========== ======================== ==================================================
    ResNet9    1, 2, 4, 5, 7, 8         1, 2, 3, 4, 5, 6: a residual pair is one block
    WRN-28-10  1, 3, 5, ..., 25         1, 2, 3, ..., 13: two convolutions are one block
    ViT-B/16   1, 2, 3, ..., 13         the same
    all        -1                       -1
    ========== ======================== ==================================================

    Args:
        model: as in ``Method``, like the other options.
        k: the number of blocks that are trained; -1 for all.

    Raises ``UserError`` for a k above the number of blocks of the model.
    """

    def __init__(self, model: nn.Module, k: int = -1, **options: Any) -> None:
        super().__init__(model, **options)
        count = len(blocks_of(model))
        if k != -1 and not 1 <= k <= count:
            raise UserError(
                f"method.k={k} must be from 1 to {count}, the number of blocks of the model, or -1 for all",
                key="method.k",
            )
        self.first = 0 if k == -1 else count - k  # index of the first block that is trained
        for block in self.frozen:
            block.requires_grad_(False)

    @property
    def frozen(self) -> list[nn.Module]:
        """The blocks that stay as they are."""
        return blocks_of(self.model)[: self.first]

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        for block in self.frozen:
            block.eval()

    def on_train_end(self) -> None:
        super().on_train_end()
        self.model.requires_grad_(True)
