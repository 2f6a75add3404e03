"""From a command line to studies: one for each method that it names, each with the draws over which it is judged."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..config.arguments import Arguments
from ..config.groups import REFERENCE_FREE
from ..config.imports import read_module
from ..config.launch import asked
from ..config.messages import COMPOSITION_ERRORS, explained
from ..config.paths import CONF
from ..config.schema import register
from ..config.space import Dimension, Space, nested, parted, space_of
from ..config.tables import CONDITIONS, merged
from ..engine.key import canonical
from ..engine.watch import BEST_BY, EVERY
from ..errors import UserError
from ..metrics.rules import RULES
from ..request import Request, deciding
from ..sweeps import request_of
from .trials import Trials

FOLDER = "tuned"  # of tables and studies, below paths.root
JUDGES = ("unlearning.tune.judge", "unlearning.metrics.rules")  # modules that decide what a setting is worth
When = Mapping[str, str | list[str]]


@dataclass(frozen=True)
class Options:
    """The tuner's own words on the command line."""

    trials: int = 30
    rule: str = "gap"
    pareto: bool = False
    out: Path | None = None

    @classmethod
    def read(cls, settings: Sequence[str]) -> tuple[Options, list[str]]:
        """The options among the settings of a command line, and the other settings.

        Raises ``UserError`` for values that they cannot have.
        """
        found: dict[str, Any] = {}
        rest = []
        for setting in settings:
            key, _, text = setting.partition("=")
            if key == "trials":
                if not text.isdigit() or not int(text):
                    raise UserError(f"trials={text} must be a whole number from 1 on", key="trials")
                found[key] = int(text)
            elif key == "pareto":
                if text.lower() not in ("true", "false"):
                    raise UserError(f"pareto={text} must be true or false", key="pareto")
                found[key] = text.lower() == "true"
            elif key in ("rule", "out"):
                if not text:
                    raise UserError(f"{key}= is empty", key=key)
                found[key] = text if key == "rule" else Path(text).expanduser()
            else:
                rest.append(setting)
        return cls(**found), rest


@dataclass(frozen=True)
class Plan:
    """A study: one method, its space, and the draws over whose mean a setting is judged.

    Args:
        arguments: the command line, without its settings.
        jobs: the settings of each draw.
        space: what is searched.
        requests: each draw with the settings as they are.
        options: the tuner's own.
    """

    arguments: Arguments
    jobs: Sequence[Sequence[str]]
    space: Space
    requests: Sequence[Request]
    options: Options

    @property
    def label(self) -> str:
        """The method and its add-ons."""
        return self.requests[0].label

    @property
    def folder(self) -> Path:
        """Where tables and studies are written."""
        own = self.options.out or self.arguments.folder
        return (own or Path(self.requests[0].config["paths"]["root"]) / FOLDER).absolute()

    @property
    def table(self) -> Path:
        """The table that gets the row."""
        return self.folder / "table" / f"{self.requests[0].choices['method']}.yaml"

    @property
    def name(self) -> str:
        """A readable name, unique for everything that decides what is chosen besides the number of trials.

        The present values of what is searched are not a part of it: the row of the study may have set them.
        """
        parts = [
            [self.what_decides(request).key.digest for request in self.requests],
            [str(one) for one in self.space.dimensions],
            [self.options.rule, self.options.pareto],
            [module.digest for name in JUDGES if (module := read_module(name))],
        ]
        digest = hashlib.sha256(canonical(parts).encode()).hexdigest()
        return f"{self.stem}-{digest[:12]}"

    @property
    def stem(self) -> str:
        """The readable part of the name."""
        return f"{self.requests[0].choices['dataset']}-{self.label}-{self.options.rule}"

    def what_decides(self, request: Request) -> Request:
        """A request with null for every option that is searched, and without the metrics, which the judge never asks.

        Which epochs are looked at and kept decides what is judged.
        """
        nothing = nested(f"{one.key}=null" for one in self.space.dimensions)
        evaluation = {name: request.config["evaluation"].get(name) for name in (EVERY, BEST_BY)}
        return replace(request, config=merged(request.config, nothing) | {"evaluation": evaluation})

    @property
    def older(self) -> list[Path]:
        """The journals of other studies whose names read alike, the newest last."""
        files = (self.folder / "studies").glob(f"{self.stem}-{'?' * 12}.journal")
        return sorted((file for file in files if file.stem != self.name), key=lambda file: file.stat().st_mtime)

    @property
    def when(self) -> list[When]:
        """The conditions of the rows, which hold for what was searched and for nothing else.

        There is one row where each name of a group was searched with each name of the others, and else one for each
        combination.
        """
        points = list(dict.fromkeys(tuple(request.choices[group] for group in CONDITIONS) for request in self.requests))
        names = [list(dict.fromkeys(column)) for column in zip(*points, strict=True)]
        if math.prod(map(len, names)) > len(points):
            return [dict(zip(CONDITIONS, point, strict=True)) for point in points]
        return [{group: own if len(own) > 1 else own[0] for group, own in zip(CONDITIONS, names, strict=True)}]

    @property
    def oracle(self) -> bool:
        """Whether what is chosen, settings or epochs, depends on the retrained model."""
        rules = {self.options.rule, *(request.config["evaluation"].get(BEST_BY) for request in self.requests)}
        return any(RULES[name].oracle for name in rules if name in RULES)

    @property
    def circumstances(self) -> str:
        """What no condition of a row can say: the seeds and the other settings of all draws, as sweeps write them."""
        found: dict[str, list[str]] = {"seed": [str(request.config["seed"]) for request in self.requests]}
        for job in self.jobs:
            for setting in deciding(job):
                key, _, value = setting.partition("=")
                if key not in ("method", "seed", *CONDITIONS):
                    found.setdefault(key, []).append(value)
        return " ".join(f"{key}={','.join(dict.fromkeys(values))}" for key, values in found.items())

    def trials(self) -> Trials:
        """The trials of the study."""
        file = self.folder / "studies" / f"{self.name}.journal"
        seed = self.requests[0].config["seed"]
        return Trials(file, self.space.dimensions, self.options.trials, seed, self.options.pareto)

    def with_settings(self, settings: Sequence[str], root: Path | None) -> list[Request]:
        """The requests of all draws with these settings of the method."""
        return [composed(self.arguments, [*job, *settings], root) for job in self.jobs]


def plans(arguments: Arguments, options: Options, root: Path | None) -> tuple[list[Plan], list[str]]:
    """The studies of a command line, and a line for each method of several that has no search space.

    There is a study for each combination of a method, its add-ons and its fixed options. Raises ``UserError`` for what
    does not compose, and where no method has a search space.
    """
    from hydra_plugins.unlearning.alternatives import jobs_of

    register(root)
    rest, own = parted(arguments.settings)
    try:
        jobs = jobs_of([*rest, *arguments.search])
    except COMPOSITION_ERRORS as error:
        raise explained(error, rest) from None
    found, without = [], []
    for draws in by_method(jobs):
        try:
            found.append(plan(arguments, draws, own, options, root))
        except UserError as error:
            if error.key != "method" or error.kind != "missing":
                raise
            without.append(error)
    if not found:
        raise without[0]
    return found, [str(error) for error in without]


def by_method(jobs: Sequence[Sequence[str]]) -> list[list[Sequence[str]]]:
    """The jobs of a sweep, those together that unlearn alike: by their settings of the method and its add-ons."""
    found: dict[tuple[str, ...], list[Sequence[str]]] = {}
    for job in jobs:
        found.setdefault(tuple(setting for setting in job if setting.startswith(REFERENCE_FREE)), []).append(job)
    return list(found.values())


def plan(
    arguments: Arguments, jobs: Sequence[Sequence[str]], own: Sequence[Dimension], options: Options, root: Path | None
) -> Plan:
    """The study of one method."""
    requests = [composed(arguments, job, root) for job in jobs]
    folders = [CONF, *([arguments.folder.absolute()] if arguments.folder else [])]
    space = space_of(requests[0].choices, jobs[0], own, folders)
    return Plan(arguments, jobs, space, requests, options)


def composed(arguments: Arguments, settings: Sequence[str], root: Path | None) -> Request:
    """The request of a job, composed as ``python run.py`` would."""
    return asked(request_of, arguments._replace(settings=list(settings)), root)[0]
