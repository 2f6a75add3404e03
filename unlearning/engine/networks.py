"""Networks of a run's architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
        ensemble: makes an ensemble of such networks, where the recipe trains one.
    """

    model: Spec
    seed: int
    checkpoint: str | None = None
    ensemble: Spec | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any], checkpoint: str | None) -> Architecture:
        """The architecture of a configuration, with the file of the user's own original model, if there is one."""
        ensemble = config["pretrain"].get("ensemble")
        whole = None if ensemble is None else Spec("pretrain.ensemble", ensemble)
        return cls(Spec("model", config["model"]), config["pretrain"]["seed"], checkpoint, whole)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that decide what a network computes."""
        return {"model": self.model.node} | ({} if self.ensemble is None else {"ensemble": self.ensemble.node})

    def network(self, data: Dataset, pretrained: bool = True) -> nn.Module:
        """A new network, in channels-last memory (the faster layout for small convolutions).

        ``pretrained=False`` initialises it at random, whatever published weights the architecture would start from.
        """
        spec = self.model
        if not pretrained and "pretrained" in spec.node:
            spec = spec.having(pretrained=False)

        def make() -> nn.Module:
            one: nn.Module = spec.build(input_shape=data.input_shape, num_classes=len(data.classes))
            return one

        network = make() if self.ensemble is None else self.ensemble.build(make=make)
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
