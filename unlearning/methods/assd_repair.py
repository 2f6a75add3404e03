"""ASSD (Schoepf et al., 2024, arXiv:2402.10098), then a repair on the retain set."""

from collections.abc import Callable

from torch import nn

from .assd import ASSD
from .base import Method


class ASSDRepair(ASSD):
    """ASSD, then training on the retain set to mend what the dampening broke.

    Args:
        model: as in ``Method``.
        repair: makes the method that trains the dampened model, such as ``FineTune``.
        options: of ``ASSD``.
    """

    def __init__(self, model: nn.Module, repair: Callable[[nn.Module], Method], **options: object) -> None:
        super().__init__(model, **options)
        self.repair = repair(model)
