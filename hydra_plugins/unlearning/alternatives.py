"""A sweep over a union of grids, for settings of which only some combinations make sense."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

Grid = Mapping[str, Any]  # the values of each key, written as on the command line: ``{"seed": "0,1"}``


class Alternatives(Sweeper):
    """A grid, as of Hydra's own sweeper, with axes that set several keys together.

    Each axis of ``alternatives`` is a list of grids, and a job uses one point of one of them. So these are
    2 x (2 + 3) jobs::

        params: {seed: "0,1"}
        alternatives:
          forgotten:
            - {scenario: random, scenario.count: "2250,4500"}
            - {scenario: class, scenario.count: "450,1900,3500"}

    Args:
        max_batch_size: how many jobs the launcher is given at a time; null for all.
        params: a grid that all jobs share.
        alternatives: the axes, by any name.
    """

    def __init__(
        self, max_batch_size: int | None, params: Grid | None, alternatives: Mapping[str, Sequence[Grid]] | None
    ) -> None:
        if max_batch_size is not None and max_batch_size < 1:
            raise HydraException(f"hydra.sweeper.max_batch_size={max_batch_size} must be null or at least 1")
        self.max_batch_size, self.params, self.alternatives = max_batch_size, params or {}, alternatives or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from unlearning.config.frames import FrameLoader  # here, since Hydra imports this module in every run

        loader = FrameLoader(hydra_context.config_loader)
        self.hydra_context, self.config = HydraContext(loader, hydra_context.callbacks), config
        self.launcher = Plugins.instance().instantiate_launcher(self.hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Compose and launch the jobs batch by batch; returns the results of each batch."""
        assert self.hydra_context is not None
        assert self.config is not None
        assert self.launcher is not None
        from unlearning.report.forecast import forecast
        from unlearning.runtime.children import interrupt_grandchildren
        from unlearning.runtime.interrupts import remember  # here, since Hydra imports this module in every run
        from unlearning.runtime.secrets import redacted
        from unlearning.runtime.threads import share_with

        parser = OverridesParser.create(self.hydra_context.config_loader)
        todo = jobs(parser, self.params, self.alternatives, arguments)
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "multirun.yaml").write_text(redacted(OmegaConf.to_yaml(self.config)), encoding="utf-8")
        returns = []
        size = self.max_batch_size or len(todo)
        for first in range(0, len(todo), size):
            batch = todo[first : first + size]
            self.validate_batch_is_legal(batch)
            if first == 0 and len(todo) > 1:
                for line in forecast(todo, self.config.hydra.runtime.choices, Path(self.config.paths.runs)):
                    print(line, flush=True)
            share_with(min(size, len(todo)), self.config.hydra.launcher)
            try:
                returns.append(self.launcher.launch(batch, initial_job_idx=first))
            except KeyboardInterrupt as error:  # the summary of what is done follows, and raises again
                remember(error)
                interrupt_grandchildren()
                break
            for job in returns[-1]:
                _ = job.return_value  # raises where the job did
        return returns


def jobs(
    parser: OverridesParser, params: Grid, alternatives: Mapping[str, Sequence[Grid]], overrides: Sequence[str]
) -> list[list[str]]:
    """The settings of each job of a sweep.

    Settings of the command line apply to all jobs, and jobs that become equal are run once.

    Args:
        parser: Hydra's parser of overrides.
        params, alternatives: see ``Alternatives``.
        overrides: the settings of the command line.

    Raises ``HydraException`` if there are no jobs.
    """
    shared = parser.parse_overrides([*written(params), *overrides])
    found: dict[frozenset[str], list[str]] = {}
    for grids in product(*alternatives.values()):
        own = parser.parse_overrides([setting for grid in grids for setting in written(grid)])
        for job in points([*own, *shared]):
            found.setdefault(frozenset(job), job)
    if not found:
        raise HydraException("the sweep has no jobs: a glob(...) fits no choice, or a range(...) is empty")
    return list(found.values())


def jobs_of(arguments: Sequence[str]) -> list[list[str]]:
    """The settings of each job of a command line, such as ``["experiment=all_methods", "seed=0,1"]``."""
    from unlearning.config.compose import isolated  # here, since Hydra imports this module in every run

    with isolated():
        parser = OverridesParser.create(GlobalHydra.instance().config_loader())
        found = parser.parse_overrides(list(arguments))
        single = [o for o in found if not o.is_sweep_override()]
        chosen = [o for o in single if o.is_hydra_override() or o.key_or_group == "experiment"]
        sweeper = compose("config", [str(o.input_line) for o in chosen], return_hydra_config=True).hydra.sweeper
        own = [str(o.input_line) for o in found if not o.is_hydra_override()]
        return jobs(parser, sweeper.params or {}, sweeper.get("alternatives") or {}, own)


def written(grid: Grid) -> list[str]:
    """A grid as overrides of a command line."""
    return [f"{key}={value}" for key, value in grid.items()]


def points(overrides: Sequence[Override]) -> Iterator[list[str]]:
    """Every combination of the values of the keys; of a key that is set more than once the last override counts."""
    axes: dict[str, list[str]] = {}
    for override in overrides:
        key = override.get_key_element()
        if not override.is_sweep_override():
            axes[key] = [f"{key}={override.get_value_element_as_str()}"]
        elif override.is_discrete_sweep():
            axes[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            raise HydraException(f"{override.input_line} does not name its values: write choice(...) or range(...)")
    return map(list, product(*axes.values()))
