"""The number of processes that share a run. Imports no torch unless all GPUs of the machine are asked for."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from ..errors import UserError

STARTED = "WORLD_SIZE"  # where torchrun tells each process how many it has started


def started() -> int | None:
    """The number of processes that torchrun started for this run; None where it started none."""
    found = os.environ.get(STARTED, "")
    return int(found) if found.isdigit() else None


def processes(trainer: Mapping[str, Any]) -> int:
    """The number of processes that share a run: those that torchrun started, or else those that a trainer asks for.

    Raises ``UserError`` where torchrun started another number than the trainer asks for, because each process would
    then train by itself on its own idea of the data.
    """
    wanted, there = devices(trainer) * nodes(trainer), started()
    if there is not None and there != wanted:
        raise UserError(
            f"the trainer is for {wanted} processes (trainer.devices times trainer.num_nodes), and torchrun started "
            f"{there}: take trainer=ddp, or start {wanted}",
            key="trainer.devices",
            kind="conflict",
        )
    return wanted


def nodes(trainer: Mapping[str, Any]) -> int:
    """The machines that a trainer asks for. Raises ``UserError`` for what is not a whole number."""
    found = trainer.get("num_nodes", 1)
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise UserError(f"trainer.num_nodes={found} must be a whole number, at least 1", key="trainer.num_nodes")
    return found


def devices(trainer: Mapping[str, Any]) -> int:
    """The number of processes that a trainer's ``devices`` ask for on this machine.

    Raises ``UserError`` for a value that is not a number, a list or ``auto``.
    """
    found = trainer.get("devices", 1)
    if not isinstance(found, list) and not re.fullmatch(r"auto|-?\d+|\d[\d,]*", str(found)):
        raise UserError(
            f"trainer.devices={found} must be a whole number, a list such as [0,1], or auto", key="trainer.devices"
        )
    if isinstance(found, str) and found != "auto":
        found = [part for part in found.split(",") if part] if "," in found else int(found)
    if isinstance(found, list) and not (
        all(str(one).isdigit() for one in found) and len({*map(str, found)}) == len(found)
    ):
        raise UserError(f"trainer.devices={found} must list different numbers from 0", key="trainer.devices")
    on_cpu = trainer.get("accelerator") == "cpu"
    if found == "auto" or (found == -1 and not on_cpu):  # all there are; a CPU is one
        return 1 if on_cpu else max(1, gpus())
    number = len(found) if isinstance(found, list) else found
    if number < 1:
        raise UserError(f"trainer.devices={trainer['devices']} must ask for at least one", key="trainer.devices")
    return number


def gpus() -> int:
    """The GPUs of this machine."""
    import torch

    return torch.cuda.device_count()
