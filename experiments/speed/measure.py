"""Ratios of CPU time that hold on a noisy machine, and the record of what was claimed and measured."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from unlearning.runtime.memory import return_freed

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
    return_freed()  # a run's meter does so for its measure of peak memory: both sides begin with an empty heap
    gc.disable()  # a collection would be paid for by whoever is at work when it is due
    try:
        start = time.process_time()
        work()
        return time.process_time() - start
    finally:
        gc.enable()


def paired_ratio(work: Work, floor: Work, pairs: int) -> float:
    """The least CPU time of ``work`` over the least of ``floor``, run in turns: A B A B ...

    What neighbours on the machine take from caches and clock only adds, so the least is what the work itself costs.
    """
    works, floors = zip(*((cpu_seconds(work), cpu_seconds(floor)) for _ in range(pairs)), strict=True)
    return min(works) / min(floors)


COLUMNS = {"claim": "left", "measured": "right", "target": "right", "ok": "left", "note": "left"}


def cells(claim: Claim) -> tuple[str, ...]:
    """A claim as a row of ``COLUMNS``."""
    bound = "" if claim.target is None else f"{'>=' if claim.at_least else '<='} {claim.target:g} {claim.unit}"
    verdict = "" if claim.target is None else "yes" if claim.ok else "NO"
    return claim.what, f"{claim.measured:.3g} {claim.unit}", bound, verdict, claim.note


def markdown(claims: list[Claim]) -> str:
    """The table of all claims as Markdown."""
    rule = ["---:" if justify == "right" else "---" for justify in COLUMNS.values()]
    return "".join(f"| {' | '.join(row)} |\n" for row in [list(COLUMNS), rule, *map(cells, claims)])


def show(claims: list[Claim], console: Console) -> None:
    """Print the table of all claims."""
    table = Table(title="Speed: one thread, CPU seconds, least of interleaved runs", title_justify="left")
    for name, justify in COLUMNS.items():
        table.add_column(name, justify=justify)
    for claim in claims:
        table.add_row(*cells(claim), style=None if claim.ok else "red")
    console.print(table)
