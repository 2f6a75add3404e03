"""The report as a Markdown page, with all columns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..runtime.markdown import escaped
from .screen import POPULATIONS
from .tables import Report, Table


def page(report: Report) -> str:
    """The whole report."""
    parts = ["# Report", "", *(f"{line}.\n" for line in report.legend)]
    parts += [section(table, report.arrows) for table in report.tables]
    parts += [
        section(replace(table, setting=POPULATIONS + table.setting), report.arrows) for table in report.populations
    ]
    if report.tests:
        parts.append("\n".join(["## Methods against each other", "", *verbatim(report.tests), ""]))
    if report.rest:
        listed = [f"{'  ' * text.startswith(' ')}- {escaped(text)}" for text in report.rest]
        parts.append("\n".join(["## Not in a table", "", *listed, ""]))
    return "\n".join(parts)


def section(table: Table, arrows: Mapping[str, str]) -> str:
    """One setting's table, with its notes below."""
    heads = (f"{c} {arrows.get(c, '')}".strip() for c in table.columns)
    text = [f"## {escaped(table.setting)}", "", row("method", *map(escaped, heads), "n")]
    text.append(row("---", *("---:" for _ in table.columns), "---:"))
    for line in table.lines:
        label = f"*{escaped(line.label)}*" if line.reference else escaped(line.label)
        cells = (" ".join(filter(None, line.cells[c])).replace("*", "\\*") for c in table.columns)
        text.append(row(label, *cells, str(line.n)))
    return "\n".join([*text, "", *(f"- {escaped(note)}" for note in table.notes), ""])


def row(*cells: str) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def verbatim(lines: Sequence[str]) -> list[str]:
    """Lines as a block of code, whatever they hold."""
    longest = max((len(ticks) for ticks in re.findall("`+", "\n".join(lines))), default=0)
    fence = "`" * max(3, longest + 1)
    return [fence, *lines, fence]
