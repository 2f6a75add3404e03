"""Finished runs in Lightning's loggers: CSV files, TensorBoard, Weights & Biases."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .mlflow_client import permitted
from .tracked import TrackedRun, TrackedSweep

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger


class LightningLogger:
    """Logs each run to a logger of its own, when it is over.

    Args:
        logger: makes the logger of a run; called with ``name`` and ``version``.
        package: the package that it needs; None where there is none.
    """

    def __init__(self, logger: Callable[..., Any], package: str | None) -> None:
        self.logger = logger
        self.package = package

    def check(self) -> None:
        """Raise :class:`UserError` where the package that the logger needs is missing. Creates nothing."""
        try:
            if self.package:
                distribution(self.package)
        except PackageNotFoundError:
            raise UserError(
                f"tracking={self.package} needs the package {self.package}: pip install {self.package}, "
                "or use tracking=sqlite, csv or none",
                key="tracking",
                kind="missing",
            ) from None

    def log_run(self, run: TrackedRun) -> str:
        """Log one run: its settings and tags, its curves, and its metrics at the last step. Returns its version.

        Raises :class:`UserError` where the logger cannot take it.
        """
        self.check()
        version = uuid.uuid4().hex[:8]  # a run that is made again is another one
        try:
            logger = self.logger(name=permitted(run.name).replace("/", "_"), version=version)
            fill(logger, run)
            if self.package == "wandb":
                logger.experiment.finish()  # it would take the next run for the same one
        except Exception as error:  # of any kind: what a logger raises is not ours to know
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(
                f"{self.package or 'the logger'} failed ({reason}); the results on disk are kept: "
                "correct tracking.logger, or use tracking=none",
                key="tracking.logger",
                kind="storage",
            ) from error
        return version

    def end_sweep(self, sweep: TrackedSweep) -> None:
        """Log the means over seeds as runs of their own."""
        for mean in sweep.means:
            self.log_run(mean)


def fill(logger: Logger, run: TrackedRun) -> None:
    """Log what a run holds."""
    logger.log_hyperparams({**run.params, **run.tags, "status": run.status, "sweep": run.sweep})
    points: dict[int, dict[str, float]] = defaultdict(dict)
    for name, curve in run.curves.items():
        for step, value in curve:
            points[step][name] = value
    points[max(points, default=0)] |= run.metrics
    for step in sorted(points):
        logger.log_metrics(points[step], step)
    logger.save()
    logger.finalize("success" if run.status == "FINISHED" else "failed")
