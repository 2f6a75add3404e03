"""What unlearning costs: seconds, memory, and how many samples pass forward and backward through networks."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .memory import return_freed

PROC = Path("/proc/self")


class Meter(L.Callback):
    """Counts from ``on_fit_start`` to ``on_fit_end``, and inside ``running()``; evaluation and set-up stay outside.

    ``seconds`` of wall time; ``forward`` and ``backward`` sample passes through the watched networks (teachers count);
    ``peak_mib``, the memory held at most beyond what was held at the start (device memory on a GPU, else resident
    memory; None where the system does not tell); ``items``, seconds of named parts of the work, such as masks.
    """

    def __init__(self) -> None:
        self.seconds, self.forward, self.backward = 0.0, 0, 0
        self.peak_mib: float | None = None
        self.items: dict[str, float] = {}
        self._running = False
        self._watched: dict[nn.Module, RemovableHandle] = {}

    @classmethod
    def resumed(cls, metrics: Mapping[str, float], item: str) -> "Meter":
        """A meter that starts from ``metrics``, the cost of work that was done before, itemised as ``item``."""
        meter = cls()
        meter.add(metrics, item)
        return meter

    def add(self, metrics: Mapping[str, float], item: str) -> None:
        """Add ``metrics``, the cost of other work, itemised as ``item``."""
        self.items[item] = metrics["cost/seconds"]
        self.seconds += metrics["cost/seconds"]
        self.forward += int(metrics["cost/forward"])
        self.backward += int(metrics["cost/backward"])
        peaks = [peak for peak in (self.peak_mib, metrics.get("cost/peak_mib")) if peak is not None]
        self.peak_mib = max(peaks, default=None)

    def watch(self, network: nn.Module) -> None:
        """Count the samples that pass through ``network``."""
        if network not in self._watched:
            self._watched[network] = network.register_forward_hook(self._count)

    def release(self) -> None:
        """Stop watching: networks that are handed on carry no trace of the meter."""
        for handle in self._watched.values():
            handle.remove()
        self._watched.clear()

    def _count(self, _: nn.Module, __: tuple[Any, ...], output: Tensor) -> None:
        if not self._running:
            return
        samples = len(output)
        self.forward += samples
        if output.requires_grad:
            output.register_hook(lambda gradient: self._count_backward(samples))

    def _count_backward(self, samples: int) -> None:
        self.backward += samples

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Count what happens inside."""
        self._start()
        try:
            yield
        finally:
            self._stop()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Count neither the time nor the passes of what happens inside; memory counts."""
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()  # steps that are under way belong to the time before
        began, running, self._running = time.perf_counter(), self._running, False
        try:
            yield
        finally:
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()
            self._running = running
            if running:
                self.seconds -= time.perf_counter() - began

    @contextlib.contextmanager
    def item(self, name: str) -> Iterator[None]:
        """Itemise what happens inside, in seconds, as a part of the whole."""
        start = time.perf_counter()
        yield
        self.items[name] = self.items.get(name, 0.0) + time.perf_counter() - start

    def on_fit_start(self, trainer: L.Trainer, method: L.LightningModule) -> None:
        self._start()

    def on_fit_end(self, trainer: L.Trainer, method: L.LightningModule) -> None:
        self._stop()

    def add_from_processes(self, summed: Callable[[Tensor], Tensor], device: torch.device) -> None:
        """Add what the other processes counted since the start, by their common sum of an int64 tensor."""
        own = torch.tensor([self.forward, self.backward], device=device) - torch.tensor(self._before, device=device)
        forward, backward = (summed(own.clone()) - own).tolist()  # it may be summed in place
        self.forward, self.backward = self.forward + forward, self.backward + backward

    def _start(self) -> None:
        self._running = True
        self._before = self.forward, self.backward
        self._held = reset_peak()
        self._started = time.perf_counter()

    def _stop(self) -> None:
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        self._running = False
        self.seconds += time.perf_counter() - self._started
        if self._held is not None:
            self.peak_mib = max(self.peak_mib or 0.0, (peak() - self._held) / 2**20)

    def metrics(self) -> dict[str, float]:
        """``cost/...`` as they are reported; a number that could not be measured is left out."""
        so_far = time.perf_counter() - self._started if self._running else 0.0
        found = {
            "cost/seconds": self.seconds + so_far,
            "cost/forward": float(self.forward),
            "cost/backward": float(self.backward),
            "cost/passes": float(self.forward + self.backward),
        }
        if self.peak_mib is not None:
            found["cost/peak_mib"] = self.peak_mib
        return found | {f"cost/seconds_{name}": seconds for name, seconds in self.items.items()}


def reset_peak() -> int | None:
    """Start a new measurement of peak memory; the bytes held now, or None where that cannot be measured."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    return_freed()
    try:
        (PROC / "clear_refs").write_text("5")  # Linux: sets the peak of the resident set to its present size
        return peak()
    except OSError:
        return None


def peak() -> int:
    """Bytes held at the peak since ``reset_peak``."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    lines = (PROC / "status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
