"""The jobs of a sweep on the screen instead of their runs."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class Listing(Launcher):
    """Print the settings of each job, which Hydra has composed before, and run none."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Do nothing: no run needs to be set up."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        for number, overrides in enumerate(job_overrides, start=initial_job_idx + 1):
            print(f"{number}. {' '.join(overrides)}")
        return []
