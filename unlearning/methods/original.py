"""No change: the row that every table starts with."""

from collections.abc import Sequence

from torch import nn

from ..addons.base import Addon
from ..data.feed import Feed, Phase
from ..errors import UserError
from .base import Method


class Original(Method):
    """The original model as it is: the identity, which costs nothing and forgets nothing."""

    feed = Feed(streams=())
    serves_ensembles = True
    stronger = {}

    def __init__(self, model: nn.Module, addons: Sequence[Addon] = ()) -> None:
        super().__init__(model, addons=addons)
        if self.addons:
            raise UserError(
                "add-ons change the steps of first-order methods; the original model is not changed at all",
                key="addon",
                kind="conflict",
            )

    def phases(self) -> Sequence[Phase]:
        return []

    def configure_optimizers(self) -> None:
        return None
