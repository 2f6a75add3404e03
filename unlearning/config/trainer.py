"""Settings of Lightning's trainer that would make a run something else than it says. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..errors import UserError

WHOLE: dict[str, Any] = {  # what leaves the data and the number of passes as the other settings have them
    "fast_dev_run": False,
    "limit_train_batches": 1.0,
    "limit_predict_batches": 1.0,
    "overfit_batches": 0.0,
    "max_steps": -1,
    "min_steps": 0,
    "min_epochs": 0,
    "max_time": None,
    "use_distributed_sampler": True,
}


def check_trainer(trainer: Mapping[str, Any], trial: int | None) -> None:
    """Raise a ``UserError`` for settings with which a run would not be what its other settings say.

    Only a trial may be cut short, since it is marked as one wherever its numbers are shown.
    """
    for name, whole in WHOLE.items():
        value = trainer.get(name)
        same = value == whole and (not name.startswith("limit_") or type(value) is float)  # 1 is a batch, 1.0 is all
        if trial is None and not (value is None or same):
            raise UserError(
                f"trainer.{name}={value} changes how much of the data a run sees, so its numbers would not be results: "
                "remove it, or set trial=N as well, which marks the run as a trial on N samples of each set",
                key=f"trainer.{name}",
                kind="conflict",
            )
    for name in ("accumulate_grad_batches", "predict_batch_size"):
        count = trainer.get(name, 1)
        if not (type(count) is int and count >= 1):
            raise UserError(f"trainer.{name}={count} must be a whole number, at least 1", key=f"trainer.{name}")
    algorithm = trainer.get("gradient_clip_algorithm")
    if algorithm not in (None, "norm", "value"):
        raise UserError(
            f"trainer.gradient_clip_algorithm={algorithm} must be norm or value", key="trainer.gradient_clip_algorithm"
        )
    clip = trainer.get("gradient_clip_val")
    if clip is not None and not (type(clip) in (int, float) and 0 < clip < math.inf):
        raise UserError(
            f"trainer.gradient_clip_val={clip} must be a number above 0, or null for no clipping",
            key="trainer.gradient_clip_val",
        )
