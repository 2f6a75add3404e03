"""Hand-made results of runs, as ``results.json`` holds them, and folders of finished runs with them."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unlearning.metrics.directions import MEAN_OVER, VALIDATED
from unlearning.report import aggregate, collect


def result(
    forget: float = 0.0,
    seed: int = 0,
    *,
    method: str = "ssd",
    addon: str = "",
    choices: dict[str, str] | None = None,
    config: dict[str, Any] | None = None,
    **parts: Any,
) -> dict[str, Any]:
    """The content of a results.json; all four seeds follow ``seed`` unless ``config`` says otherwise."""
    resolved = {
        "seed": seed,
        "split": {"seed": seed},
        "scenario": {"_target_": "s.ClassForgetting", "seed": seed, "classes": [3], "count": None},
        "pretrain": {"seed": seed, "epochs": 15},
        "dataset": {"name": "digits"},
        "model": {"width": 32},
        "method": {"alpha": 10, "seed": seed},
        "addon": {},
        "evaluation": {"accuracy": {"_target_": "m.Accuracy"}},
        "paths": {"data": "/here/data"},
        "trainer": {"accelerator": "cpu"},
    }
    for key, value in (config or {}).items():
        *groups, leaf = key.split(".")
        node = resolved
        for group in groups:
            node = node.setdefault(group, {})
        node[leaf] = value
    resolved["dataset"]["seed"] = resolved["split"]["seed"]  # resolved from it, so not a seed of its own
    names = {"dataset": "digits", "model": "small_cnn", "scenario": "class", "pretrain": "digits"}
    resolved["choices"] = names | {"method": method, "addon": addon} | (choices or {})
    return {
        "config": resolved,
        "rows": {row: {"forget/acc": v} for row, v in (("original", 1.0), ("retrained", 0.0), ("unlearned", forget))},
        "gaps": {"gap/forget/acc": forget, "gap/mean": abs(forget)},
        "cost": {"cost/seconds": 2.0, "cost/peak_mib": None},
        "directions": {"forget/acc": "to-retrained"},
        "failed": {},
    } | parts


def whole(gap: float, validation: float | None = None) -> dict[str, float]:
    """The gaps of a run with every metric of ``gap/mean``, and of ``gap/mean_val`` where that is given: all alike."""
    found = {f"gap/{name}": gap for name in MEAN_OVER} | {"gap/mean": abs(gap)}
    if validation is not None:
        found |= {f"gap/{name}": validation for name in VALIDATED if name not in MEAN_OVER}
        found["gap/mean_val"] = abs(validation)
    return found


def write_finished(root: Path, *results: Any) -> Path:
    """Add a finished run for each result, each finished later than the one before; returns ``root``."""
    for found in results:
        number = len(list(root.iterdir()))
        folder = root / f"run{number}"
        folder.mkdir()
        (folder / "results.json").write_text(json.dumps(found))
        (folder / "DONE").touch()
        os.utime(folder / "DONE", (1000 + number, 1000 + number))
    return root


def table(root: Path, metrics: Sequence[str] = ("forget/acc",), by: Sequence[str] = ()) -> dict[tuple, Any]:
    """The aggregate's records by row, label and metric."""
    frame = aggregate(collect(root), list(metrics), by)
    return {(r.row, r.method, r.metric): r for r in frame.itertuples()}


def only(root: Path, label: str, metric: str = "forget/acc") -> Any:
    """The aggregate's record of one unlearned row and metric."""
    return table(root, [metric])["unlearned", label, metric]
