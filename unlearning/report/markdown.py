"""The report as a Markdown page, with all columns."""

from __future__ import annotations

from collections.abc import Mapping

from .tables import Report, Table


def page(report: Report) -> str:
    """The whole report."""
    parts = ["# Report", "", *(f"{line}.\n" for line in report.legend)]
    parts += [section(table, report.arrows) for table in report.tables]
    if report.tests:
        parts.append("\n".join(["## Methods against each other", "", "```", *report.tests, "```", ""]))
    if report.rest:
        listed = [f"  - {text.strip()}" if text.startswith(" ") else f"- {text}" for text in report.rest]
        parts.append("\n".join(["## Not in a table", "", *listed, ""]))
    return "\n".join(parts)


def section(table: Table, arrows: Mapping[str, str]) -> str:
    """One setting's table, with its notes below."""
    text = [f"## {table.setting}", "", row("method", *(f"{c} {arrows.get(c, '')}".strip() for c in table.columns), "n")]
    text.append(row("---", *("---:" for _ in table.columns), "---:"))
    for line in table.lines:
        label = f"*{line.label}*" if line.reference else line.label
        text.append(row(label, *(" ".join(filter(None, line.cells[c])) for c in table.columns), str(line.n)))
    return "\n".join([*text, "", *(f"- {note}".replace("*", "\\*") for note in table.notes), ""])


def row(*cells: str) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
