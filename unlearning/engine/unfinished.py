"""Long trainings go on from their last epoch: the store keeps their state until they are whole."""

from __future__ import annotations

import logging
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch

from ..methods.base import Method
from .key import Key
from .store import Store

SECONDS = 60.0  # between two states; a training that is over sooner leaves none
KIND = "unfinished"  # the folder of the store
STATE = "state"

log = logging.getLogger("unlearning")


class Unfinished(L.Callback):
    """Saves the state of a training in the store after an epoch, and puts it back where that training begins again.

    Weights, curves and counted passes are then those of a training that was never interrupted, bit by bit: the state
    holds that of all random generators, which the order of samples is drawn from, and what the training has cost. With
    several processes, each of which has generators of its own, nothing is saved.
    """

    def __init__(self, store: Store, key: Key) -> None:
        self.store, self.key = store, key
        self.saved = time.monotonic()
        self.now: dict[str, Any] = {}
        self.before: dict[str, Any] | None = None

    @contextmanager
    def checkpoint(self) -> Iterator[str | None]:
        """Context manager that gives a file with the saved state as Lightning reads it; None where there is none."""
        tensors = self.store.read(KIND, self.key)
        if tensors is None:
            yield None
            return
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "state.ckpt")
            file.write_bytes(tensors[STATE].numpy().tobytes())
            yield str(file)

    def done(self) -> None:
        """Remove the saved state."""
        self.store.drop(KIND, self.key)

    # What Lightning calls

    def on_train_epoch_end(self, trainer: L.Trainer, method: L.LightningModule) -> None:
        last = trainer.current_epoch + 1 >= (trainer.max_epochs or 0)
        if last or trainer.world_size > 1 or time.monotonic() - self.saved < SECONDS:
            return
        assert isinstance(method, Method)
        cost = method.meter.metrics()
        with method.meter.paused(), tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "state.ckpt")
            self.now = {
                "generators": generators(),
                "curves": {name: torch.stack(values) for name, values in method.curves.items()},
                "cost": cost,
            }
            trainer.save_checkpoint(file)
            self.store.write(KIND, self.key, {STATE: torch.frombuffer(bytearray(file.read_bytes()), dtype=torch.uint8)})
        self.saved = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        return self.now

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.before = state

    def on_train_epoch_start(self, trainer: L.Trainer, method: L.LightningModule) -> None:
        if self.before is None:
            return
        assert isinstance(method, Method)
        for name, values in self.before["curves"].items():
            method.curves[name] = list(values.unbind())
        method.meter.add(self.before["cost"], "before an interruption")
        restore(self.before["generators"])
        loaders: Any = trainer.train_dataloader
        for _ in range(2):  # as often as Lightning begins with the batches of a later epoch, which draws each time
            for loader in loaders.values() if isinstance(loaders, dict) else [loaders]:
                iter(loader)
        log.info("the training goes on from epoch %d", trainer.current_epoch + 1)
        self.before = None


def generators() -> dict[str, Any]:
    """The states of all random generators of this process, in types that a checkpoint may hold."""
    kind, words, *rest = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "numpy": [kind, torch.from_numpy(np.asarray(words, np.int64)), *rest],
        "python": random.getstate(),
    }


def restore(states: dict[str, Any]) -> None:
    """Put the states of ``generators`` back."""
    torch.set_rng_state(states["torch"])
    if states["cuda"]:
        torch.cuda.set_rng_state_all(states["cuda"])
    kind, words, *rest = states["numpy"]
    np.random.set_state((kind, words.numpy().astype(np.uint32), *rest))
    random.setstate(states["python"])
