"""The scores of a population, for the tracker that its runs were logged to: a run of its own that names its parts."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ..config.build import Spec
from ..records.folder import destination, logged
from ..report.runs import read
from ..report.tracked_sweep import over_runs
from .scores import Scores


def track(found: Scores, root: Path) -> None:
    """Log the scores of runs below ``root``, where all of these were logged to one place; the same scores only once.

    Raises ``UserError`` where the tracker cannot be reached.
    """
    population = found.population
    runs = [read(root / name) for name in sorted(population.parts)]
    tracking = runs[0].result["config"].get("tracking") or {}
    where = destination(tracking)
    ids = {run.name: logged(run.folder).get(where, "") for run in runs}
    if not where or not all(ids.values()) or not found.values:
        return
    made = hashlib.sha256(json.dumps([where, sorted(ids.values()), sorted(found.values.items())]).encode()).hexdigest()
    file = root / ".hydra" / f"population-{made[:16]}"
    if file.exists():
        return  # before the tracker is imported
    metrics = {"n": float(len(runs)), **found.values} | {f"chance/{name}": value for name, value in found.floor.items()}
    Spec("tracking", tracking).build().log_run(
        over_runs(f"{population.method}, population of {len(runs)}", runs, metrics, ids)
    )
    file.parent.mkdir(exist_ok=True)
    file.touch()
