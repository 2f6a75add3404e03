"""The report on the screen: as many columns as fit, and whole numbers in them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table as Drawing
from rich.text import Text

from .tables import Line, Report, Table

LABEL = 18  # columns that a long label folds to where the screen is narrow
POPULATIONS = "Populations: "
UNBOUNDED = 10_000  # columns


def print_report(report: Report, console: Console | None = None) -> None:
    """Print the tables, each with its notes, then how to read them and which runs are in none."""
    console = console or Console(highlight=False, markup=False)
    for title, table in [*(("", table) for table in report.tables), *((POPULATIONS, t) for t in report.populations)]:
        console.print(title + table.setting, style="bold")
        console.print(fitting(table, report.arrows, console))
        for note in table.notes:
            console.print(Padding(note, (0, 0, 0, 1), expand=False))
        console.print()
    for line in report.tests:
        console.print(line, soft_wrap=True)
    for line in report.legend:
        console.print(line, style="dim")
    if report.rest:
        console.print("\n" + "\n".join(report.rest), soft_wrap=True)


def fitting(table: Table, arrows: Mapping[str, str], console: Console) -> Drawing:
    """A table; columns that do not fit are left out, the last ones first, and named in the caption."""
    unbounded = console.options.update(max_width=UNBOUNDED)
    shown = len(table.columns)
    drawing = drawn(table.lines, table.columns, arrows)
    while shown > 1 and Measurement.get(console, unbounded, drawing).minimum > console.width:
        shown -= 1
        drawing = drawn(table.lines, table.columns[:shown], arrows)
    if left_out := table.columns[shown:]:
        named = ", ".join(left_out[:6]) + (" and more" if len(left_out) > 6 else "")
        drawing.caption = f"screen too narrow for {named}: see report.md, which make report writes"
    return drawing


def drawn(lines: Sequence[Line], columns: Sequence[str], arrows: Mapping[str, str]) -> Drawing:
    """A table with these columns; intervals stand below their means, and heads take three lines, to save width."""
    table = Drawing(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, caption_justify="left")
    longest = max(len(line.label) for line in lines)
    table.add_column("\n\nmethod", overflow="fold", min_width=min(longest, LABEL))
    for name in columns:
        head = "/\n".join(name.rsplit("/", 1)) + "\n" + arrows.get(name, "")[:1]
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("\n\nn", justify="right", no_wrap=True)
    for i, line in enumerate(lines, start=1):
        cells = [Text("\n".join(filter(None, line.cells[c])), "red" * ("failed" in line.cells[c])) for c in columns]
        last = line.reference and i < len(lines) and not lines[i].reference
        label = line.label if len(line.label) <= LABEL else re.sub(r"\+(?=[a-z])", " +", line.label)  # folds there
        table.add_row(Text(label), *cells, str(line.n), style="cyan" * line.reference, end_section=last)
    return table
