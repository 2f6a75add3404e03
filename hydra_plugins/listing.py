"""The jobs of a sweep on the screen instead of their runs."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class Listing(Launcher):
    """Prints the settings of each job, after Hydra has checked that they compose, and runs none."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """A launcher that runs nothing needs none of these."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        for number, overrides in enumerate(job_overrides, start=initial_job_idx + 1):
            print(f"{number}. {' '.join(overrides)}")
        return []
