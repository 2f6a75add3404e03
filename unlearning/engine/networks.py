"""Networks of a run's architecture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ..config.build import Spec
from ..data.datasets import Dataset
from ..models.checkpoints import load_checkpoint
from ..models.naming import Naming
from ..types import Networks


@dataclass(frozen=True)
class Architecture:
    """The architecture and the initial weights that the models of a run share.

    Args:
        model: takes ``input_shape`` and ``num_classes``.
        seed: of the original's training, from which its initial weights follow.
        checkpoint: file of the user's own original model, if there is one.
    """

    model: Spec
    seed: int
    checkpoint: str | None = None

    def network(self, data: Dataset, pretrained: bool = True) -> nn.Module:
        """A new network, in channels-last memory (the faster layout for small convolutions).

        ``pretrained=False`` initialises it at random, whatever published weights the architecture would start from.
        """
        spec = self.model
        if not pretrained and "pretrained" in spec.node:
            spec = spec.having(pretrained=False)
        network: nn.Module = spec.build(input_shape=data.input_shape, num_classes=len(data.classes))
        return network.to(memory_format=torch.channels_last)

    def networks(self, data: Dataset) -> Networks:
        """Makers of networks for methods."""

        def original_start() -> nn.Module:
            with torch.random.fork_rng():
                torch.manual_seed(self.seed)
                return self.network(data)

        return Networks(
            fresh=lambda: self.network(data, pretrained=False),
            starting=lambda: self.network(data),
            original_start=None if self.checkpoint else original_start,
        )

    def own_original(self, data: Dataset) -> tuple[nn.Module, Naming]:
        """The user's own original model, from ``checkpoint``, and how that file names its tensors.

        Raises ``UserError`` for a file that does not fit.
        """
        assert self.checkpoint is not None
        network = self.network(data, pretrained=False)
        return network, load_checkpoint(network, self.checkpoint)
