"""The scores of populations on the screen and as a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from ..config.legend import ARROWS
from ..errors import UserError
from ..report.populations import FILE
from ..runtime.files import write_whole
from .scores import Scores, reading


def show(found: Sequence[Scores], direction: str) -> None:
    """Print the scores of one setting, a column per method, and what they are over."""
    console = Console(highlight=False, markup=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("score", no_wrap=True)
    table.add_column("")
    for one in found:
        table.add_column(one.population.method, justify="right")
        table.add_column("by chance", justify="right", style="dim")
    for name in dict.fromkeys(name for one in found for name in one.values):
        cells = (text(of.get(name)) for one in found for of in (one.values, one.floor))
        table.add_row(name, ARROWS[reading(name)], *cells)
    console.print(found[0].population.setting, style="bold")
    console.print(table)
    console.print(
        "↑ higher is better · ↓ lower is better, an attack's success down to its level by chance", style="dim"
    )
    for one in found:
        console.print(f"{one.population.method}: {'; '.join([*one.notes, one.population.over])}")
    if any(name.startswith("klom/") for one in found for name in one.values):
        console.print(f"klom/: KL({direction}) in nats; by chance: of two samples of one distribution")
    console.print()


def text(value: float | None) -> str:
    """A score as the table shows it."""
    return "-" if value is None else f"{value:.3f}"


def write(found: Sequence[Scores], folder: Path) -> None:
    """Write all scores in long form, and print where they are."""
    path = folder / FILE
    file = io.StringIO(newline="")
    lines = csv.writer(file)
    lines.writerow(["setting", "method", "score", "direction", "value", "chance", "runs", "over"])
    for one in found:
        of = one.population
        for name, value in one.values.items():
            read = reading(name), value, one.floor[name]
            lines.writerow([of.setting, of.method, name, *read, of.runs, of.over])
    try:
        write_whole(path, file.getvalue().encode(errors="replace"))
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror}; name another folder with --out", key="--out", kind="storage"
        ) from None
    print(path)
