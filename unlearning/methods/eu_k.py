"""EU-k, exact unlearning of the last k layers (Goel et al., 2022, arXiv:2201.06640)."""

from typing import Any, Literal

import torch
from torch import nn

from ..errors import UserError
from ..models.base import blocks_of
from .cf_k import CFk

REDRAW = 2000003  # added to the seed, with which the original's own initial weights would be drawn again


class EUk(CFk):
    """Initialise the last k blocks anew, then train them on the retain set.

    Every parameter and buffer of these blocks is drawn again; published weights return to their published values. The
    blocks before them stay as they are. With k = -1 this is retraining from scratch, which takes as many epochs as
    training the original did. See ``CFk`` for what a block is, and for the k of the corrective benchmark.

    Args:
        model: as in ``CFk``, like the other options.
        initial: ``fresh`` weights, which the original never had, or those of the ``original`` at the beginning of its
            own training.

    Raises ``UserError`` for the initial weights of an original where they are not known.
    """

    replaces = True
    stronger = {}  # more training does no harm

    def __init__(self, model: nn.Module, initial: Literal["fresh", "original"] = "fresh", **options: Any) -> None:
        super().__init__(model, **options)
        self.initial = initial

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self.resumed:
            return
        for block, new in zip(blocks_of(self.model)[self.first :], blocks_of(self.start())[self.first :], strict=True):
            block.load_state_dict(new.state_dict())

    def start(self) -> nn.Module:
        """The network whose last blocks the model gets."""
        if self.initial == "fresh":
            torch.manual_seed(torch.initial_seed() + REDRAW)
            return self.networks.starting()
        if self.networks.original_start is None:
            raise UserError(
                "the weights that the original model started from are not known for a model of your own: use "
                "method.initial=fresh",
                key="method.initial",
                kind="conflict",
            )
        return self.networks.original_start()
