"""The card of an unlearned model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..config.groups import label
from ..config.legend import honoured, mean_gap, number, sights, trial_mark
from ..engine.key import flat
from .names import WEIGHTS


def model_card(results: Mapping[str, Any]) -> str:
    """The card, made from the content of ``results.json``: what was forgotten, how, and how well."""
    config, sizes = results["config"], results["sizes"]
    choices = config["choices"]
    scenario = flat({k: v for k, v in config["scenario"].items() if k != "_target_" and v is not None})
    threads = results["threads"]
    lines = [
        f"# {trial_mark(config)}{choices['model']} on {choices['dataset']}, unlearned by {label(choices)}",
        "",
        f"* Forgotten: {sizes['forget']:,} of {sizes['train']:,} training samples",
        *(f"* {line}" for line in honoured(results)),
        f"* Scenario `{choices['scenario']}`: "
        + ", ".join(f"`scenario.{name}={text(value)}`" for name, value in scenario.items()),
        f"* Data access of the method: {sights(results['access'])}",
        f"* Data digest `{results['data']['dataset']}`, split digest `{results['data']['split']}`",
        f"* Weights `{WEIGHTS}`, SHA-256 over its tensors `{results['weights']}`",
        f"* Made by `{results['command']}` with {threads} thread{'' if threads == 1 else 's'}",
        f"* Code {results['git'] or 'not under version control'}; "
        + ", ".join(f"{name} {version}" for name, version in results["versions"].items()),
        f"* Run key `{results['run_key']}`",
        *(f"* Note: {note}" for note in results["notes"]),
        "",
        *settings(results["settings"]),
        *metrics(results),
    ]
    return "\n".join(lines) + "\n"


def settings(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The rows of the settings' tables that applied, with their reasons; a later one overrides an earlier one."""
    lines = []
    for row in rows:
        where = ", ".join(f"{name}={text(value)}" for name, value in (row.get("when") or {}).items()) or "always"
        values = ", ".join(f"{name}={text(value)}" for name, value in flat(row.get("set") or {}).items())
        lines.append(table_row(str(row["table"]), values, where, str(row["why"])))
    heads = [table_row("table", "sets", "when", "why"), "|---|---|---|---|"]
    note = "Settings from the tables, in the order in which they apply; the command line overrides them:"
    return [note, "", *heads, *lines, ""] if lines else []


def metrics(results: Mapping[str, Any]) -> list[str]:
    """The metrics of the unlearned model, and the signed gaps to the retrained one."""
    gaps = results["gaps"]
    lines = [table_row("metric", "unlearned", "gap to retrained"), "|---|---|---|"]
    for name, value in results["rows"]["unlearned"].items():
        gap = gaps.get(f"gap/{name}")
        lines.append(table_row(name, number(name, value), "" if gap is None else f"{gap:+.3f}"))
    lines += [table_row(name, f"failed: {why}", "") for name, why in results["failed"].items()]
    if "gap/mean" in gaps:
        over = mean_gap(name.removeprefix("gap/") for name in gaps)
        averages = [name for name in ("gap/mean", "gap/mean_val") if name in gaps]
        lines += [*(table_row(name, "", f"{gaps[name]:.3f}") for name in averages), "", over]
    return lines


def table_row(*cells: str) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def text(value: Any) -> str:
    """A value as one writes it on the command line."""
    return "[" + ",".join(map(text, value)) + "]" if isinstance(value, list | tuple) else str(value)
