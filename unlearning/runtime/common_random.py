"""Random numbers that all processes of a run share."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


class CommonRandom:
    """A generator that draws the same numbers in all processes of a run, also after a checkpoint is resumed.

    The global generators do not: each process uses its own for its own samples, so their states differ.

    Args:
        name: generators of different names draw different numbers.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.restored: Tensor | None = None  # the state that a checkpoint held
        self.generator: torch.Generator | None = None

    def on(self, device: torch.device) -> torch.Generator:
        """The generator on a device, seeded from the run's seed and the name when it is first used."""
        if self.generator is None:
            seed = (torch.initial_seed() + zlib.crc32(self.name.encode())) % 2**63
            self.generator = torch.Generator(device).manual_seed(seed)
            if self.restored is not None:
                self.generator.set_state(self.restored.cpu())
        return self.generator

    @contextmanager
    def rewound(self) -> Iterator[None]:
        """What is drawn within is drawn once more afterwards."""
        state = None if self.generator is None else self.generator.get_state()
        yield
        if state is None:
            self.generator = None  # seeded anew at its next use
        elif self.generator is not None:
            self.generator.set_state(state)

    def state_dict(self) -> dict[str, Any]:
        """The state of the generator, to be merged into that of its owner; empty before the first use."""
        state = self.restored if self.generator is None else self.generator.get_state()
        return {} if state is None else {"random": state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a state made by ``state_dict``, before the first use of the generator."""
        self.restored = state_dict.get("random")
