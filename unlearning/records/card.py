"""The card of an unlearned model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..config.groups import label
from ..config.legend import assumed, failures, honoured, mean_gap, number, reading, sights, trial_mark, unstated
from ..engine.key import flat
from ..runtime.markdown import escaped
from .names import WEIGHTS

LOADS = f'import safetensors.torch; model.load_state_dict(safetensors.torch.load_file("{WEIGHTS}"))'


def model_card(results: Mapping[str, Any]) -> str:
    """The card, made from the content of ``results.json``: what was forgotten, how, and how well."""
    config, sizes = results["config"], results["sizes"]
    choices = config["choices"]
    scenario = flat({k: v for k, v in config["scenario"].items() if k != "_target_" and v is not None})
    file = f"FOLDER_BEFORE/{WEIGHTS}" if results.get("after") else "YOUR_FILE"
    threads, model = results["threads"], f" --model {file}" if results["checkpoint"] else ""
    lines = [
        f"# {trial_mark(config)}{choices['model']} on {choices['dataset']}, unlearned by {label(choices)}",
        "",
        *([f"**Warning: {results['warning']}**", ""] if results.get("warning") else []),
        f"**{results['verdict']}**",
        "",
        f"* Asked to be forgotten: {sizes['forget']:,} of {sizes['train']:,} training samples",
        *(f"* {line}" for line in honoured(results)),
        f"* Scenario `{choices['scenario']}`: "
        + ", ".join(f"`scenario.{name}={text(value)}`" for name, value in scenario.items()),
        f"* Data access of the method: {sights(results['access'])}",
        f"* Data digest `{results['data']['dataset']}`, split digest `{results['data']['split']}`",
        f"* Weights `{WEIGHTS}`, SHA-256 over its tensors `{results['weights']}`",
        *own_list(results),
        *earlier_run(results.get("after")),
        *own_model(results["checkpoint"], results.get("after")),
        *(f"* {line}" for line in assumed(config)),
        f"* Made by `{results['command']}` with {threads} thread{'' if threads == 1 else 's'}",
        f"* On {machine(results['hardware'])}, begun {results['started']}, in {results['seconds']:.0f} s",
        f"* Code {results['git'] or 'not under version control'}; "
        + ", ".join(f"{name} {version}" for name, version in results["versions"].items()),
        f"* Run key `{results['run_key']}`",
        f"* To recompute the numbers from this folder: `python -m unlearning.verify FOLDER{model}`",
        *(f"* Note: {note}" for note in results["notes"] if note != results.get("warning")),
        "",
        *settings(results["settings"]),
        *metrics(results),
    ]
    return "\n".join(lines) + "\n"


def own_list(results: Mapping[str, Any]) -> list[str]:
    """A line about the list of a request for deletion: its digest and the number of its entries, without a name."""
    entries = results.get("selected", {}).get("entries")
    digest = results["inputs"].get("scenario.file")
    return [] if entries is None else [f"* List of {entries:,} entries: SHA-256 `{digest}`"]


def machine(hardware: Mapping[str, Any]) -> str:
    """The machine of a run."""
    others = "" if hardware["accelerator"] == "cpu" else f", {hardware['accelerator']}"
    return f"{hardware['processor']}{others} ({hardware['cores']} cores)"


def earlier_run(after: Mapping[str, Any] | None) -> list[str]:
    """A line about the run that a request followed, which left the model that this one began with."""
    if after is None:
        return []
    requests = f"{after['requests']:,} earlier request{'' if after['requests'] == 1 else 's'}"
    return [
        f"* Follows {requests} over {after['samples']:,} samples, which the method did not see again",
        f"* The model called original is that of the run `{after['run_key']}`: weights `{after['weights']}`",
    ]


def loads(kind: str = "", folder: str = "") -> str:
    """The line of code that loads what came out, by the class of transformers where that must rename tensors."""
    if not kind:
        return LOADS
    config = f'config=t.AutoConfig.from_pretrained("{folder}")'
    state = f'state_dict=safetensors.torch.load_file("{WEIGHTS}")'
    return f"import safetensors.torch, transformers as t; model = t.{kind}.from_pretrained(None, {config}, {state})"


def own_model(checkpoint: Mapping[str, Any] | None, after: Mapping[str, Any] | None = None) -> list[str]:
    """Lines about the user's own checkpoint, if there was one, and the line of code that loads what came out."""
    if checkpoint is None:
        return []
    inside = "".join(f'["{name}"]' for name in checkpoint["inside"])
    where = f", in the file's `{inside}`" if inside else ""
    before = f", with `{checkpoint['prefix']}` before their names" if checkpoint["prefix"] else ""
    whose = "Your checkpoint" if after is None else "That run's file of your model"
    return [
        f"* {whose}: SHA-256 `{checkpoint['sha256']}`, {checkpoint['tensors']} tensors of the network" + where + before,
        *(f"* Kept as they came, not unlearned: `{name}`" for name in checkpoint["besides"]),
        f"* To load it where yours is loaded, from this folder: `{loads(*checkpoint.get('reads', ()))}`",
    ]


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
    """The metrics of all models, and the signed gaps of the unlearned to the retrained one."""
    gaps, rows = results["gaps"], results["rows"]
    last = ["gap to retrained"] if "retrained" in rows else []
    lines = [table_row("metric", *rows, *last), "|---" * (len(rows) + 1 + len(last)) + "|"]
    for name in rows["unlearned"]:
        gap = gaps.get(f"gap/{name}")
        cells = [number(name, row.get(name)) for row in rows.values()]
        lines.append(table_row(escaped(name), *cells, *["" if gap is None else f"{gap:+.3f}" for _ in last]))
    lines += [
        table_row(escaped(name), f"failed: {escaped(why)}", *[""] * (len(rows) - 1 + len(last)))
        for name, why in failures(results["failed"])
    ]
    if "gap/mean" in gaps:
        over = mean_gap(name.removeprefix("gap/") for name in gaps)
        averages = [name for name in ("gap/mean", "gap/mean_val") if name in gaps]
        lines += [*(table_row(name, *[""] * len(rows), f"{gaps[name]:.3f}") for name in averages), "", over]
    lines += [text for line in unstated(results) for text in ("", line)]
    return lines if last else [*lines, "", *reading(rows)]


def table_row(*cells: str) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def text(value: Any) -> str:
    """A value as one writes it on the command line."""
    return "[" + ",".join(map(text, value)) + "]" if isinstance(value, list | tuple) else str(value)
