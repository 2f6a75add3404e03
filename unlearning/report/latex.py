"""The report as LaTeX: a booktabs table per setting, with the best of each column in bold."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from .runs import CONTROLS
from .tables import Line, Report, Table

SPECIAL = {char: f"\\{char}" for char in "&%$#_{}"}
SPECIAL |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
SPECIAL |= {"<": r"$<$", ">": r"$>$", "|": r"$|$", "·": r"$\cdot$", "±": r"$\pm$", "†": r"$\dagger$"}
SPECIAL |= {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "→": r"$\to$", "≤": r"$\le$"}

LATIN = 0x24F  # the last letter that every LaTeX knows


def latex(report: Report) -> str:
    """All tables, as ``tabular`` of the package booktabs, each with its setting and its notes as comments."""
    tables = [section(table, report.arrows) for table in report.tables]
    other = any(ord(char) > LATIN for text in tables for line in text.splitlines() if line[:1] != "%" for char in line)
    script = ["% needs XeLaTeX or LuaLaTeX, and a font with all of the characters in the names below"] if other else []
    return "\n".join(["% needs \\usepackage{booktabs}", *script, *tables])


def section(table: Table, arrows: Mapping[str, str]) -> str:
    """One setting's table: the references, a rule, and the methods."""
    best = {name: best_in(table, name, arrows.get(name, "")) for name in table.columns}
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
    bold = competes(line) and line.cells[column][0] in best
    return " ".join(filter(None, [f"\\textbf{{{mean}}}" if bold else mean, interval]))


def competes(line: Line) -> bool:
    """Whether a row is of a method that unlearns: no reference model, and no control."""
    return not line.reference and line.label.partition(" ")[0] not in CONTROLS


def best_in(table: Table, column: str, arrow: str) -> set[str]:
    """The best mean among the methods, as the table shows it, in each of its spellings.

    Empty where no side is good, where there is one method, and where the retrained model has no value to come near to.
    """
    means = {line.label: line.cells[column][0] for line in table.lines if line.reference}
    aim = number(means.get("retrained", "")) if arrow == "→" else 0.0
    costs: dict[str, Callable[[float], float]] = {"↑": lambda v: -v, "↓": lambda v: v}
    if aim is None or not arrow:
        return set()
    cost = costs.get(arrow, lambda v: abs(v - aim))
    shown = [line.cells[column][0] for line in table.lines if competes(line)]
    known = [(cost(value), text) for text in shown if (value := number(text)) is not None]
    return {text for value, text in known if value == min(known)[0]} if len(known) > 1 else set()


def number(text: str) -> float | None:
    """The number of a cell; None for a word, and for a mean that is marked as not over all runs or metrics."""
    return float(text.replace(",", "")) if re.fullmatch(r"-?[\d,]+(\.\d+)?(e[+-]\d+)?", text) else None


def escaped(text: str) -> str:
    """Text with LaTeX's special characters as they are to be written."""
    return "".join(SPECIAL.get(char, char) for char in " ".join(text.split()))
