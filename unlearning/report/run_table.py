"""The table of one run: original, retrained and unlearned model side by side."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from rich.console import Console
from rich.table import Table

from ..config.groups import label
from ..config.legend import ARROWS, TAUGHT, failures, honoured, mean_gap, number, reading, sights, trial_mark, unstated
from ..metrics.directions import CORRECTED, taught_wrong

HIDDEN = (
    "*class_acc/*",
    "*layer_cka/*",
    "attack/*_low",
    "attack/*_high",
)  # too many for the screen; they are in results.json and the figures
SHORT = (*CORRECTED, "forget/acc", "retain/acc", "test/acc")


def run_table(results: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the table of one run: one row per metric, with its direction and the gap to the retrained model."""
    console = console or Console()
    rows, gaps = results["rows"], results["gaps"]
    table = Table()
    table.add_column("metric", overflow="fold")  # two metrics may differ in their last letters
    table.add_column("")
    for name in (*rows, *(["gap"] if gaps else [])):
        table.add_column(name, justify="right")
    for metric in rows["unlearned"]:
        if any(fnmatchcase(metric, pattern) for pattern in HIDDEN):
            continue
        cells = [number(metric, row.get(metric)) for row in rows.values()]
        if gaps:
            gap = gaps.get(f"gap/{metric}")
            cells.append("" if gap is None else f"{gap:+.3f}")
        arrow = "↓" if metric.startswith("cost/") else ARROWS[results["directions"][metric]]
        table.add_row(metric, arrow, *cells)
    if "gap/mean" in gaps:
        table.add_section()
    for name in ("gap/mean", "gap/mean_val"):
        if name in gaps:
            table.add_row(name, "↓", *[""] * len(rows), f"{gaps[name]:.3f}")
    if warning := results.get("warning", ""):
        console.print(f"warning: {warning}", style="bold red", markup=False, highlight=False)
    console.print(title(results), style="bold", markup=False, highlight=False)
    console.print(table)
    for line in honoured(results):
        console.print(line, markup=False, highlight=False)
    for line in explanations(results):
        console.print(line, style="dim", markup=False, highlight=False)
    for name, why in failures(results["failed"]):
        console.print(f"failed: {name}: {why}", style="red", markup=False)
    for note in (note for note in results["notes"] if note != warning):
        console.print(f"note: {note}", style="yellow", markup=False)


def title(results: Mapping[str, Any]) -> str:
    """The request in one line."""
    choices, sizes = results["config"]["choices"], results["sizes"]
    return (
        f"{trial_mark(results['config'])}{label(choices)} on {choices['dataset']} ({choices['model']}): forget "
        f"{sizes['forget']:,} of {sizes['train']:,} training samples (scenario: {choices['scenario']})"
    )


def explanations(results: Mapping[str, Any]) -> list[str]:
    """Notes on how to read the numbers, and on the data that the method may see."""
    lines = reading(results["rows"])
    if "gap/mean" in results["gaps"]:
        lines.append(mean_gap(name.removeprefix("gap/") for name in results["gaps"]))
    lines.append(f"Data access of {label(results['config']['choices'])}: {sights(results['access'])}")
    return lines + unstated(results) + [TAUGHT] * taught_wrong(results["sizes"])


def one_line(results: Mapping[str, Any]) -> str:
    """A finished run in a few words, for sweeps."""
    row = results["rows"]["unlearned"]
    broken = "warning, see its note: " if results.get("warning") else ""
    text = (
        trial_mark(results["config"]) + broken + "  ".join(f"{name} {row[name]:.3f}" for name in SHORT if name in row)
    )
    if "gap/mean" in results["gaps"]:
        text += f"  gap/mean {results['gaps']['gap/mean']:.3f}"
    return text + f"  {row['cost/seconds']:.1f} s" + ("  some metrics failed" if results["failed"] else "")
