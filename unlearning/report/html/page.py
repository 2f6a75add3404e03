"""Put a report together as one HTML page: its template, style and script lie in ``templates``."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ...metrics.directions import CORRECTED
from ..comparison import Ranks, lines_of
from ..critical_diagram import critical_diagram
from ..runs import REFERENCES
from ..tables import SHOWN, Report
from .answers import answers, over_settings
from .rows import CLASSES, SHARE, rows_of

TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = ("draw.js", "charts.js", "cka.js", "details.js", "table.js")
DIGITS = 5  # of numbers in the page's data


def html_page(report: Report, folder: Path, ranks: Ranks | None = None, title: str = "Report") -> str:
    """The page as text. It refers to nothing besides the runs' own files, relative to ``folder``, where it will be."""
    from jinja2 import Environment, FileSystemLoader  # here, since other uses of the report do not need it

    rows, references = rows_of(report, folder)
    columns = columns_of(report, rows)
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    data = {
        "settings": [table.setting for table in report.tables],
        "arrows": report.arrows | {SHARE: "↓"},
        "rows": rows,
        "references": references,
        "share": SHARE,
        "aims": [list(CORRECTED), ["forget/acc", "retain/acc"]],
    }
    tests = [
        *report.tests,
        *([] if any("mean ranks" in line for line in report.tests) or not ranks else lines_of(ranks)),
    ]
    return environment.get_template("page.html.jinja").render(
        title=title,
        report=report,
        rows=rows,
        columns=columns,
        hidden=[i for i, column in enumerate(columns) if not column["shown"]],
        families=list(dict.fromkeys(column["family"] for column in columns)),
        references=REFERENCES,
        answers=answers(report, rows),
        overall={"best": next(iter(ranks.means)), "words": over_settings(ranks)} if ranks else None,
        diagram=ElementTree.tostring(critical_diagram(ranks), encoding="unicode") if ranks else None,
        ranks=ranks,
        tests=tests,
        interval=SHOWN[report.interval],
        data=rounded(data),
        style=(TEMPLATES / "style.css").read_text(encoding="utf-8"),
        script="\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in SCRIPTS),
    )


def columns_of(report: Report, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """All metrics but those of single classes: first those of the tables, then others, which readers can show."""
    usual = list(dict.fromkeys(column for table in report.tables for column in table.columns))
    known = {name for row in rows for name in row["values"]}
    shown = [name for name in usual if name in known] + ([SHARE] if SHARE in known else [])
    rest = sorted(name for name in known - set(shown) if CLASSES not in name)
    return [
        {
            "name": name,
            "parts": re.split(r"(?<=[/_])", name),
            "arrow": "↓" if name == SHARE else report.arrows.get(name, ""),
            "shown": name in shown,
            "family": name.partition("/")[0],
        }
        for name in (*shown, *rest)
    ]


def rounded(node: Any) -> Any:
    """Plain data with short numbers, and null for those that are not finite."""
    if isinstance(node, dict):
        return {str(key): rounded(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [rounded(value) for value in node]
    if isinstance(node, bool | int | str) or node is None:
        return node
    number = float(node)
    return float(f"{number:.{DIGITS}g}") if math.isfinite(number) else None
