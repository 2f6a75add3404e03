"""ASSD (Schoepf et al., 2024, arXiv:2402.10098), then a repair on the retain set."""

from collections.abc import Callable
from typing import Any

from torch import nn

from .assd import ASSD
from .base import Method


class ASSDRepair(ASSD):
    """ASSD, then training on the retain set, which repairs the damage that dampening does to other classes.

    Args:
        model: as in ``Method``.
        repair: makes the method that trains the dampened model, such as ``FineTune``.
        options: those of ``ASSD``.
    """

    def __init__(self, model: nn.Module, repair: Callable[[nn.Module], Method], **options: Any) -> None:
        super().__init__(model, **options)
        self.repair = repair(model)
