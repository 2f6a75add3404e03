"""A sweep over a union of grids, for settings of which only some combinations make sense. Hydra finds plugins here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException


class Alternatives(BasicSweeper):
    """Hydra's own sweeper with axes that set several keys together.

    Each axis of ``alternatives`` is a list of grids, written as ``params`` is, and a job takes one point of one of
    them. So these are 2 x (2 + 3) jobs::

        params: {seed: "0,1"}
        alternatives:
          forgotten:
            - {scenario: random, scenario.count: "2250,4500"}
            - {scenario: class, scenario.count: "450,1900,3500"}

    What the command line sets it sets for all jobs; jobs that become the same are one.
    """

    def __init__(
        self,
        max_batch_size: int | None,
        params: Mapping[str, Any],
        alternatives: Mapping[str, Sequence[Mapping[str, Any]]],
    ) -> None:
        super().__init__(max_batch_size, dict(params))
        self.axes = list(alternatives.values())

    def split_arguments(self, overrides: list[Override], max_batch_size: int | None) -> list[list[list[str]]]:
        """The jobs, each a list of settings, in batches; ``overrides`` are ``params`` and then the command line's."""
        parser = OverridesParser.create(self.hydra_context.config_loader if self.hydra_context else None)
        jobs: dict[frozenset[str], list[str]] = {}
        for grids in product(*self.axes):
            own = parser.parse_overrides([f"{key}={value}" for grid in grids for key, value in grid.items()])
            (found,) = super().split_arguments([*own, *overrides], None)  # of a key that is set twice the last counts
            for job in found:
                jobs.setdefault(frozenset(job), job)
        if not jobs:
            raise HydraException("the sweep has no jobs: a glob(...) fits no choice, or a range(...) is empty")
        return list(self.split_overrides_to_chunks(list(jobs.values()), max_batch_size))
