"""Ratios of CPU time that hold on a busy machine, and the table of what was claimed and measured."""

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
    """A line of the table.

    Args:
        what: what is measured; of a ratio, both sides.
        measured: the number.
        target: the largest number for which the claim holds; None for a number that is only reported.
        at_least: whether ``target`` is the smallest such number instead.
        unit: of the number.
        note: a remark for the last column.
    """

    what: str
    measured: float
    target: float | None = None
    at_least: bool = False
    unit: str = "x"
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether the claim holds."""
        if self.target is None:
            return True
        return self.measured >= self.target if self.at_least else self.measured <= self.target


def cpu_seconds(work: Work) -> float:
    """CPU seconds that ``work`` takes in this process; the time of other processes does not count."""
    return_freed()  # as the meter of a run does, to measure peak memory: both sides begin with an empty heap
    gc.disable()  # a collection would be charged to whichever side is at work when it is due
    try:
        start = time.process_time()
        work()
        return time.process_time() - start
    finally:
        gc.enable()


def paired_ratio(work: Work, floor: Work, pairs: int) -> float:
    """The smallest CPU time of ``work`` divided by the smallest of ``floor``, measured in turns: A B A B ...

    Other processes slow a measurement down and never speed it up, so the smallest is nearest to the cost of the work.
    """
    works, floors = zip(*((cpu_seconds(work), cpu_seconds(floor)) for _ in range(pairs)), strict=True)
    return min(works) / min(floors)


COLUMNS = {"claim": "left", "measured": "right", "target": "right", "ok": "left", "note": "left"}


def cells(claim: Claim) -> tuple[str, ...]:
    """The cells of a claim, one for each of ``COLUMNS``."""
    bound = "" if claim.target is None else f"{'>=' if claim.at_least else '<='} {claim.target:g} {claim.unit}"
    verdict = "" if claim.target is None else "yes" if claim.ok else "NO"
    return claim.what, f"{claim.measured:.3g} {claim.unit}", bound, verdict, claim.note


def markdown(claims: list[Claim]) -> str:
    """The table of all claims as Markdown."""
    rule = ["---:" if justify == "right" else "---" for justify in COLUMNS.values()]
    return "".join(f"| {' | '.join(row)} |\n" for row in [list(COLUMNS), rule, *map(cells, claims)])


def show(claims: list[Claim], console: Console) -> None:
    """Print the table of all claims."""
    table = Table(title="Speed: one thread, CPU seconds, smallest of interleaved runs", title_justify="left")
    for name, justify in COLUMNS.items():
        table.add_column(name, justify=justify)
    for claim in claims:
        table.add_row(*cells(claim), style=None if claim.ok else "red")
    console.print(table)
