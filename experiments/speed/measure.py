"""Ratios of CPU time that hold on a noisy machine, and the record of what was claimed and measured."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

Work = Callable[[], object]


@dataclass(frozen=True)
class Claim:
    """A line of the table: a number, and the most (or the least) that it may be; without a target it informs."""

    what: str
    measured: float
    target: float | None = None
    at_least: bool = False
    unit: str = "x"
    note: str = ""

    @property
    def ok(self) -> bool:
        if self.target is None:
            return True
        return self.measured >= self.target if self.at_least else self.measured <= self.target


def cpu_seconds(work: Work) -> float:
    """CPU seconds of this process that ``work`` takes; what other processes do to the clock does not count."""
    gc.disable()  # a collection would be paid for by whoever is at work when it is due
    try:
        start = time.process_time()
        work()
        return time.process_time() - start
    finally:
        gc.enable()


def paired_ratio(work: Work, floor: Work, pairs: int) -> float:
    """Median over A B A B ... of the CPU time of ``work`` over that of ``floor`` right after it."""
    return statistics.median(cpu_seconds(work) / cpu_seconds(floor) for _ in range(pairs))


def show(claims: list[Claim], console: Console) -> None:
    """Print the table of all claims."""
    table = Table(title="Speed: one thread, CPU seconds, medians of interleaved pairs", title_justify="left")
    for name, justify in {
        "claim": "left",
        "measured": "right",
        "target": "right",
        "ok": "left",
        "note": "left",
    }.items():
        table.add_column(name, justify=justify)
    for c in claims:
        bound = "" if c.target is None else f"{'>=' if c.at_least else '<='} {c.target:g} {c.unit}"
        verdict = "" if c.target is None else "yes" if c.ok else "NO"
        table.add_row(c.what, f"{c.measured:.3g} {c.unit}", bound, verdict, c.note, style=None if c.ok else "red")
    console.print(table)
