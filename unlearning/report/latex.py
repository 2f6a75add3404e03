"""The report as LaTeX: a booktabs table per setting, with the best of each column in bold."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .comparison import competes, mean_cost
from .groups import Group
from .tables import Line, Report, Table, style_of

SPECIAL = {char: f"\\{char}" for char in "&%$#_{}"}
SPECIAL |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
SPECIAL |= {"<": r"$<$", ">": r"$>$", "|": r"$|$", "·": r"$\cdot$", "±": r"$\pm$", "†": r"$\dagger$"}
SPECIAL |= {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "→": r"$\to$", "≤": r"$\le$"}

LATIN = 0x24F  # the last letter that every LaTeX knows


def latex(report: Report) -> str:
    """All tables, as ``tabular`` of the package booktabs, each with its setting and its notes as comments."""
    tables = [section(table, report) for table in report.tables]
    other = any(ord(char) > LATIN for text in tables for line in text.splitlines() if line[:1] != "%" for char in line)
    script = ["% needs XeLaTeX or LuaLaTeX, and a font with all of the characters in the names below"] if other else []
    return "\n".join(["% needs \\usepackage{booktabs}", *script, *tables])


def section(table: Table, report: Report) -> str:
    """One setting's table: the references, a rule, and the methods."""
    arrows = report.arrows
    groups = [group for group in report.groups if group.setting == table.setting and competes(group)]
    best = {name: best_in(table, groups, name, arrows.get(name, "")) for name in table.columns}
    heads = ["method", *(f"{escaped(c)} {escaped(arrows.get(c, ''))}".strip() for c in table.columns), "n"]
    text = [
        f"% {' '.join(table.setting.split())}",
        f"\\begin{{tabular}}{{l{'r' * (len(table.columns) + 1)}}}",
        "\\toprule",
        row(*heads),
        "\\midrule",
    ]
    for i, line in enumerate(table.lines):
        if i and table.lines[i - 1].reference and not line.reference:
            text.append("\\midrule")
        text.append(row(escaped(line.label), *(cell(line, c, best[c]) for c in table.columns), str(line.n)))
    return "\n".join(
        [*text, "\\bottomrule", "\\end{tabular}", *(f"% {' '.join(note.split())}" for note in table.notes), ""]
    )


def row(*cells: str) -> str:
    """A row of a table."""
    return " & ".join(cells) + r" \\"


def cell(line: Line, column: str, best: set[str]) -> str:
    """Mean and interval, the mean in bold where it is the best."""
    mean, interval = (escaped(part) for part in line.cells[column])
    bold = not line.reference and line.label in best
    return " ".join(filter(None, [f"\\textbf{{{mean}}}" if bold else mean, interval]))


def best_in(table: Table, groups: Sequence[Group], column: str, arrow: str) -> set[str]:
    """The labels of the best of the competing groups, by ``mean_cost`` with the digits of a cell.

    Empty where no side is good, where there is one method, and where the retrained model has no value to come near to.
    """
    whole = {line.label for line in table.lines if not line.reference and number(line.cells[column][0]) is not None}
    found = {group.label: mean_cost(group, column, arrow) for group in groups if group.label in whole}
    known = {label: float(f"{cost:{style_of(cost).lstrip(',')}}") for label, cost in found.items() if cost is not None}
    return {label for label, cost in known.items() if cost == min(known.values())} if len(known) > 1 else set()


def number(text: str) -> float | None:
    """The number of a cell; None for a word, and for a mean that is marked as not over all runs or metrics."""
    return float(text.replace(",", "")) if re.fullmatch(r"-?[\d,]+(\.\d+)?(e[+-]\d+)?", text) else None


def escaped(text: str) -> str:
    """Text with LaTeX's special characters as they are to be written."""
    return "".join(SPECIAL.get(char, char) for char in " ".join(text.split()))
