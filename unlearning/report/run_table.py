"""The table that ends a run: original, retrained and unlearned model side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from ..config.schema import label
from ..metrics.directions import ARROWS, CORRECTED, LEGEND, TAUGHT, taught_wrong

HIDDEN = ("class_acc/",)  # in results.json and the figure, too many for the screen
SHORT = (*CORRECTED, "forget/acc", "retain/acc", "test/acc")


def run_table(results: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the table of one run: a row a metric, with its direction and the gap to the retrained model."""
    console = console or Console()
    choices, sizes, rows = results["config"]["choices"], results["sizes"], results["rows"]
    title = f"{label(choices)}: {choices['model']} on {choices['dataset']} forgets "
    title += f"{sizes['forget']} of {sizes['train']} training samples ({choices['scenario']})"
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.caption = f"{LEGEND}\n{label(choices)} was handed: {handed(results['access'])}"
    if taught_wrong(sizes):
        table.caption += f"\n{TAUGHT}"
    table.add_column("metric", overflow="fold")  # two metrics may differ in their last letters
    table.add_column("")
    for name in (*rows, *(["gap"] if results["gaps"] else [])):
        table.add_column(name, justify="right")
    for metric in rows["unlearned"]:
        if metric.startswith(HIDDEN):
            continue
        cells = [number(metric, row.get(metric)) for row in rows.values()]
        if results["gaps"]:
            gap = results["gaps"].get(f"gap/{metric}")
            cells.append("" if gap is None else f"{gap:+.3f}")
        arrow = "↓" if metric.startswith("cost/") else ARROWS[results["directions"][metric]]
        table.add_row(metric, arrow, *cells)
    if "gap/mean" in results["gaps"]:
        table.add_section()
        table.add_row("gap/mean", "↓", *[""] * len(rows), f"{results['gaps']['gap/mean']:.3f}")
    console.print(table)
    for name, why in results["failed"].items():
        console.print(f"failed: {name}: {why}", style="red", markup=False)


def handed(access: Mapping[str, str]) -> str:
    """The data that a run's method and add-ons may see, in words."""
    return ", ".join(f"{stream} ({what})" for stream, what in access.items()) or "no data"


def one_line(results: Mapping[str, Any]) -> str:
    """A finished run in a few words, for sweeps."""
    row = results["rows"]["unlearned"]
    wanted = [name for name in SHORT if name in row]
    text = "  ".join(f"{name} {row[name]:.3f}" for name in wanted)
    if "gap/mean" in results["gaps"]:
        text += f"  gap/mean {results['gaps']['gap/mean']:.3f}"
    return text + f"  {row['cost/seconds']:.1f} s" + ("  some metrics failed" if results["failed"] else "")


def number(metric: str, value: float | None) -> str:
    """A value as the table shows it."""
    if value is None:
        return ""
    if metric == "cost/seconds":
        return f"{value:.2f}"
    return f"{value:,.0f}" if metric.startswith("cost/") else f"{value:.3f}"
