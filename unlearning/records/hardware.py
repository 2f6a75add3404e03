"""The machine of a run."""

from __future__ import annotations

import platform
from pathlib import Path

from ..runtime.threads import cores

CPUS = Path("/proc/cpuinfo")  # of Linux; platform.processor() is empty there


def hardware(accelerator: str) -> dict[str, str | int]:
    """The processor, the cores that this process may use, and the accelerator of a run."""
    found: dict[str, str | int] = {"processor": processor(), "cores": cores(), "accelerator": accelerator}
    if accelerator != "cpu":
        import torch  # here, since the others need it not

        if torch.cuda.is_available():
            found["accelerator"] = torch.cuda.get_device_name()
    return found


def processor() -> str:
    """The model of the processor, as its maker names it, or else its architecture."""
    try:
        lines = CPUS.read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
