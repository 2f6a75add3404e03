"""Random numbers that all processes of a run share."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor


class CommonRandom:
    """Random numbers that are the same in all processes of a run, go on after a checkpoint, and differ by ``name``.

    The global generators of the processes part ways, for each draws for its own samples.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.state: Tensor | None = None  # of a checkpoint
        self.generator: torch.Generator | None = None

    def on(self, device: torch.device) -> torch.Generator:
        """The generator, seeded by the run's seed and the name when it is first used."""
        if self.generator is None:
            seed = (torch.initial_seed() + zlib.crc32(self.name.encode())) % 2**63
            self.generator = torch.Generator(device).manual_seed(seed)
            if self.state is not None:
                self.generator.set_state(self.state.cpu())
        return self.generator

    def state_dict(self) -> dict[str, Tensor]:
        return {} if self.generator is None else {"random": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.state = state.get("random")
