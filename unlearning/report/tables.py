"""One setting's part of the aggregate as a table: for the screen, and as Markdown."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..metrics.directions import ARROWS, AVERAGE_GAPS, MEAN_OVER, TAUGHT, taught_wrong
from .groups import Group
from .runs import REFERENCES, Run

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console
    from rich.table import Table

LABEL = 18  # columns that a long label folds to where the screen is narrow


@dataclass
class Line:
    """One row of a table: for each column the mean and the interval as text, either of them possibly empty."""

    label: str
    reference: bool
    n: int
    cells: dict[str, tuple[str, str]]


def lines(table: pd.DataFrame, columns: Sequence[str]) -> list[Line]:
    """The rows of one setting's table, from its part of ``aggregate``."""
    found = []
    for (label, row), part in table.groupby(["method", "row"], sort=False):
        n = int((part.n + part.failed).max())
        cells = {record.metric: _cell(record, n) for record in part.itertuples()}
        mean, half = cells.get("gap/mean", ("failed", ""))
        if mean != "failed" and part[part.failed > 0].metric.str.removeprefix("gap/").isin(MEAN_OVER).any():
            cells["gap/mean"] = (mean + "†", half)
        found.append(Line(label, row in REFERENCES, n, {c: cells.get(c, ("-", "")) for c in columns}))
    return found


def _cell(record: Any, n: int) -> tuple[str, str]:
    """Three decimals for rates; fewer for large numbers, and none lost for tiny ones."""
    if not record.n:
        return "failed", ""
    size = abs(record.mean)
    style = ".1e" if 0 < size < 0.001 else ".3f" if size < 10 else ",.1f" if size < 1000 else ",.0f"
    mean = format(record.mean, style) + ("*" if record.n < n else "")
    return mean, "" if math.isnan(record.ci95) else f"±{record.ci95:{style}}"


def arrows_of(runs: Iterable[Run]) -> dict[str, str]:
    """An arrow for every metric whose good side is known."""
    arrows = {}
    for run in runs:
        arrows |= {metric: ARROWS[direction] for metric, direction in run.result["directions"].items()}
        arrows |= dict.fromkeys(run.result["cost"], "↓") | dict.fromkeys(run.result.get("gaps", {}), "→0")
    return arrows | dict.fromkeys(AVERAGE_GAPS, "↓")


def notes(table: pd.DataFrame, found: list[Line], groups: Sequence[Group]) -> list[str]:
    """What the reader of one table must know besides its numbers."""
    over: dict[str, list[str]] = defaultdict(list)
    fullest = table.sort_values("n", ascending=False, kind="stable").drop_duplicates(["method", "row"])
    for record in fullest[fullest.n > 0].itertuples():
        over[f"n={record.n}" + (f" ({record.varied})" if record.n > 1 else "")].append(record.method)
    texts = []
    if (fullest.n > 1).any():
        texts.append("± half the 95 % interval of the mean over n runs (Student t); n=1 has none.")
    rest = max(over, key=lambda text: len(over[text]), default="")
    if len(over) > 1 and len(over[rest]) > 3:
        over[rest] = ["all other rows"]
    texts += [text if len(over) == 1 else f"{text}: {', '.join(labels)}" for text, labels in over.items()]
    if any(taught_wrong(run.result.get("sizes", {})) for group in groups for run in group.runs):
        texts.append(f"{TAUGHT}.")
    marks = {mean[-1:] for line in found for mean, _ in line.cells.values()}
    if "*" in marks:
        texts.append("* not in all n runs: over those that have a value.")
    if "†" in marks:
        texts.append("† over the metrics that did not fail: not comparable with the other rows.")
    failures = ((g.label, *item) for g in groups for run in g.runs for item in run.failed[g.row].items())
    for (label, metric, why), times in Counter(failures).items():
        texts.append(f"failed: {label}: {metric}: {' '.join(why.split())} ({count(times, 'run')})")
    made_by = {run.result.get("git") or "unknown" for group in groups for run in group.runs}
    if len(made_by) > 1:
        revisions = {commit[:8] + plus + changes for commit, plus, changes in (git.partition("+") for git in made_by)}
        texts.append(f"made by different code: revisions {', '.join(sorted(revisions))}.")
    return texts


def count(n: int, noun: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{n} {noun}{'s' * (n != 1)}"


def layout(found: list[Line], columns: Sequence[str], arrows: Mapping[str, str], console: Console) -> Table:
    """The table for the screen; columns that do not fit are left out, the last first, and named in the caption."""
    unbounded = console.options.update(max_width=10_000)
    for shown in range(len(columns), 0, -1):
        table = _drawn(found, columns[:shown], arrows)
        if table.__rich_measure__(console, unbounded).minimum <= console.width:
            break
    if left_out := columns[shown:]:
        named = ", ".join(left_out[:6]) + (" and more" if len(left_out) > 6 else "")
        table.caption = f"too narrow for {named}: the report.md that make report writes has all"
    return table


def _drawn(found: list[Line], columns: Sequence[str], arrows: Mapping[str, str]) -> Table:
    """Intervals stand below their means, the head of a column on three lines: as many columns as can be."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, caption_justify="left")
    longest = max(len(line.label) for line in found)
    table.add_column("\n\nmethod", overflow="fold", min_width=min(longest, LABEL))
    for name in columns:
        head = "/\n".join(name.rsplit("/", 1)) + "\n" + arrows.get(name, "")[:1]
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("\n\nn", justify="right", no_wrap=True)
    for i, line in enumerate(found, start=1):
        cells = [Text("\n".join(filter(None, line.cells[c])), "red" * ("failed" in line.cells[c])) for c in columns]
        last = line.reference and i < len(found) and not found[i].reference
        label = line.label if len(line.label) <= LABEL else re.sub(r"\+(?=[a-z])", " +", line.label)  # folds there
        table.add_row(Text(label), *cells, str(line.n), style="cyan" * line.reference, end_section=last)
    return table


def markdown(title: str, found: list[Line], columns: Sequence[str], arrows: Mapping[str, str], below: list[str]) -> str:
    """One setting's table as Markdown, all columns, its notes below."""

    def row(*cells: str) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    text = [f"## {title}", "", row("method", *(f"{c} {arrows.get(c, '')}".strip() for c in columns), "n")]
    text.append(row("---", *("---:" for _ in columns), "---:"))
    for line in found:
        label = f"*{line.label}*" if line.reference else line.label
        text.append(row(label, *(" ".join(filter(None, line.cells[c])) for c in columns), str(line.n)))
    return "\n".join([*text, "", *(f"- {note}".replace("*", "\\*") for note in below), ""])
