"""What a run leaves behind: its folder, its MLflow run, and the table on the screen."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import platform
import shutil
import subprocess
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from ..config.schema import ROOT, TRACKED, destination, is_finished, is_tracked, label
from ..data.datasets import Dataset
from ..engine.store import exclusive, write_atomic
from ..errors import UserError
from ..metrics.base import Evidence
from ..report.run_table import handed, number
from ..scenarios.saved import split_file

PACKAGES = (
    "torch",
    "torchvision",
    "lightning",
    "hydra-core",
    "timm",
    "torchmetrics",
    "scikit-learn",
    "mlflow",
    "numpy",
)
HINT = "set paths.runs=DIR"
PROVENANCE = "provenance.json"  # what ``about`` says, from the start of the run on


def begin(folder: Path, held: ExitStack, force: bool) -> bool:
    """Whether the run is done already; its folder is ``held`` by this process."""
    held.enter_context(exclusive(folder, HINT))
    finished = is_finished(folder)
    if (folder / "DONE").exists() and not finished:
        logging.getLogger("unlearning").warning("%s cannot be read: the run is made again", folder / "results.json")
    return finished and not force


def clear(folder: Path, about: Mapping[str, Any]) -> None:
    """A folder that holds ``about`` alone: what an unfinished or superseded run left is removed, its DONE first."""
    (folder / "DONE").unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"cannot make the run folder {folder}: {error.strerror}; {HINT}") from None
    write(folder, PROVENANCE, json.dumps(about, indent=1))


def about(config: Mapping[str, Any], choices: Mapping[str, str], command: str, key: str) -> dict[str, Any]:
    """Everything needed to make the run again."""
    return {
        "run_key": key,
        "command": command,
        "config": dict(config) | {"choices": dict(choices)},
        "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
        "git": git_revision(),
    }


def git_revision() -> str | None:
    """The commit of the code, with ``+changes`` where the tree differs from it; None outside a checkout."""
    try:
        ask = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+changes"]
        return subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def write(folder: Path, name: str, content: str | bytes) -> Path:
    """Write a file of the run, whole or not at all."""
    write_atomic(folder / name, content if isinstance(content, bytes) else content.encode(), HINT)
    return folder / name


def artefacts(
    folder: Path, evidence: Mapping[str, Evidence], rows: Mapping[str, Mapping[str, float]], data: Dataset
) -> None:
    """The figures, the split, and the unlearned model's logits and weights; ``rows`` are the models' metrics."""
    from ..report.summary_figure import noise_figure, summary_figure

    for name, figure in {"summary.png": summary_figure(evidence), "noise.png": noise_figure(rows)}.items():
        if figure is not None:
            image = io.BytesIO()
            figure.savefig(image, format="png", dpi=150)
            write(folder, name, image.getvalue())
    split = evidence["unlearned"].split
    write(folder, "split.safetensors", split_file(split, data))
    write(folder, "predictions.safetensors", save({"logits": evidence["unlearned"].logits, "labels": data.labels}))
    state = {n: t.detach().cpu().contiguous() for n, t in evidence["unlearned"].model.state_dict().items()}
    write(folder, "unlearned.safetensors", save(state))


def model_card(results: Mapping[str, Any]) -> str:
    """What was forgotten, how and how well, for whoever receives the weights."""
    config, sizes = results["config"], results["sizes"]
    choices = config["choices"]
    unlearned = results["rows"]["unlearned"]
    settings = {k: v for k, v in config["scenario"].items() if k != "_target_" and v is not None}
    lines = [
        f"# {choices['model']} on {choices['dataset']}, unlearned by {label(choices)}",
        "",
        f"* Forgotten: {sizes['forget']} of {sizes['train']} training samples",
        f"* Scenario `{choices['scenario']}`: {settings}",
        f"* Data that the method was handed: {handed(results['access'])}",
        f"* Data digest `{results['data']['dataset']}`, split digest `{results['data']['split']}`",
        f"* Weights `unlearned.safetensors`, SHA-256 over its tensors `{results['weights']}`",
        f"* Made by `{results['command']}`",
        f"* Code {results['git'] or 'not under version control'}; {results['versions']}",
        f"* Run key `{results['run_key']}`",
        "",
        "| metric | unlearned | gap to retrained |",
        "|---|---|---|",
    ]
    for name, value in unlearned.items():
        gap = results["gaps"].get(f"gap/{name}")
        lines.append(f"| {name} | {number(name, value)} | {'' if gap is None else f'{gap:+.3f}'} |")
    lines += [f"| {name} | failed: {why} | |" for name, why in results["failed"].items()]
    return "\n".join(lines) + "\n"


def finish(
    folder: Path, results: dict[str, Any], curves: Mapping, tracking: Any, sweep: str | None, start: float
) -> None:
    """Write the results, log them, and mark the run as done, last."""
    write(folder, "MODEL_CARD.md", model_card(results))
    write(folder, "curves.json", json.dumps(curves))
    write(folder, "results.json", json.dumps(results, indent=1))
    try:
        track(folder, results, curves, tracking, sweep, start)
    finally:  # the results are whole, whether or not MLflow took them
        write(folder, "DONE", "")


def catch_up(folder: Path, tracking: Any, sweep: str | None, config: Mapping[str, Any]) -> None:
    """Log a finished run to where it was not logged before: it was made without tracking, or for another server."""
    if not is_tracked(folder, config):
        results, curves = (json.loads((folder / name).read_text()) for name in ("results.json", "curves.json"))
        results["config"]["tracking"] = config["tracking"]
        track(folder, results, curves, tracking, sweep, (folder / PROVENANCE).stat().st_mtime)


def track(
    folder: Path, results: Mapping[str, Any], curves: Mapping, tracking: Any, sweep: str | None, start: float
) -> None:
    """Log the results and files of a whole run, and note where."""
    finals = results["rows"]["unlearned"] | results["gaps"] | results["cost"]
    others = {row: values for row, values in results["rows"].items() if row != "unlearned"}
    references = {f"{row}/{name}": value for row, values in others.items() for name, value in values.items()}
    names = ("results.json", "*.png", "split.safetensors", "unlearned.safetensors", "MODEL_CARD.md")
    files = [file for name in names for file in sorted(folder.glob(name))]
    shown = {name: value for name, value in (finals | references).items() if "class_acc/" not in name}  # many charts
    log(results, tracking, sweep, start, shown, curves, files, "FINISHED")
    if where := destination(results["config"]):
        before = (folder / TRACKED).read_text() if (folder / TRACKED).exists() else ""
        write(folder, TRACKED, before + where + "\n")


def fail(
    folder: Path, about: dict[str, Any], error: BaseException, tracking: Any, sweep: str | None, start: float
) -> None:
    """Mark the run as failed, with the reason; of what it wrote, the provenance alone stays."""
    reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    try:
        clear(folder, about)
        write(folder, "FAILED", reason + "\n")
        if not isinstance(error, KeyboardInterrupt):
            files = [folder / "FAILED", folder / PROVENANCE]
            log(about | {"reason": reason}, tracking, sweep, start, {}, {}, files, "FAILED")
    except UserError as second:  # the first error is the one to be told
        warnings.warn(f"the failure could not be recorded: {second}", stacklevel=2)


def log(
    results: Mapping[str, Any],
    tracking: Any,
    sweep: str | None,
    start: float,
    metrics: Mapping[str, float],
    curves: Mapping,
    files: list[Path],
    status: str,
) -> None:
    """One MLflow run."""
    config = results["config"]
    choices = config["choices"]
    tags = {"run_key": results["run_key"], "command": results["command"], "git": results["git"] or "none"}
    tracking.log_run(
        name=f"{label(choices)} {choices['dataset']} s{config['seed']}",
        params=comparable(config),
        tags=tags | ({"reason": results["reason"]} if "reason" in results else {}),
        metrics=metrics,
        curves=curves,
        artifacts=files,
        dataset_digest=results.get("data", {}).get("split", ""),
        status=status,
        sweep=sweep,
        started=start,
    )


def comparable(config: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters worth comparing between runs: the choices, the seeds, and the settings by dotted name."""
    groups = ("method", "addon", "scenario", "pretrain", "split", "model", "dataset", "trainer")
    found = {name: choice for name, choice in config["choices"].items() if choice} | {"seed": config["seed"]}
    for group in groups:
        found |= flat(config[group], f"{group}.")
    return {name: value for name, value in found.items() if not name.endswith(("_target_", "_partial_"))}


def flat(node: Any, prefix: str) -> dict[str, Any]:
    """The leaves of a nested configuration, by dotted name."""
    if isinstance(node, Mapping):
        return {k: v for name, child in node.items() for k, v in flat(child, f"{prefix}{name}.").items()}
    return {prefix[:-1]: node}


def ids_digest(ids: Tensor) -> str:
    """SHA-256 of an index set."""
    return hashlib.sha256(ids.contiguous().numpy()).hexdigest()


def state_digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of a state dict: names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
