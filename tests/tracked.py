"""A run as trackers get it."""

import time
from typing import Any

from unlearning.records.tracked import TrackedRun


def tracked_run(**changes: Any) -> TrackedRun:
    """A finished run with two metrics, with some fields changed."""
    run: dict[str, Any] = {
        "name": "scrub",
        "params": {"lr": 0.001, "method": "scrub"},
        "tags": {"run_key": "abc"},
        "metrics": {"forget/acc": 0.25, "mia/loss_auc": 0.5},
        "curves": {},
        "artifacts": [],
        "dataset_digest": "d" * 64,
        "status": "FINISHED",
        "sweep": None,
        "started": time.time(),
    }
    return TrackedRun(**(run | changes))
