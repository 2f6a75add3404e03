"""EU-k, exact unlearning of the last k layers (Goel et al., 2022, arXiv:2201.06640)."""

from ..models.base import blocks_of
from .cf_k import CFk


class EUk(CFk):
    """Reset the last k blocks to where the original's training began, then train them on the retain set.

    Every parameter and buffer of these blocks is initialised again, by the run's seed (published weights return to
    their published values). This is the original's own initialisation if ``pretrain.seed`` is that seed. The blocks
    before them stay as they are. With k = -1 this is retraining from scratch, which takes as many epochs as training
    the original did. See ``CFk`` for what a block is, and for the k of the corrective benchmark.
    """

    stronger = {}  # more training does no harm

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self.resumed:
            return
        fresh = blocks_of(self.networks.starting())[self.first :]
        for block, new in zip(blocks_of(self.model)[self.first :], fresh, strict=True):
            block.load_state_dict(new.state_dict())
