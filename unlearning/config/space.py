"""Search spaces: which options of a method are searched, and among which values.

A table ``search/<method>.yaml`` has the grammar of ``table/<method>.yaml``, with values as Hydra's sweeps write them::

    - why: The authors' search (Foster et al., 2024).
      set:
        alpha: tag(log, interval(0.1, 100))
        reference: choice(train, retain)

``interval(a, b)`` is of real numbers, ``int(interval(a, b))`` of whole ones, both ends included; ``tag(log, ...)``
searches by orders of magnitude; ``choice(...)``, a list with commas and ``range(...)`` name their values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from omegaconf import OmegaConf

from ..errors import UserError
from .groups import REFERENCE_FREE
from .messages import COMPOSITION_ERRORS
from .tables import CONDITIONS, flat, overridden, rows_for, settings, within

METHOD = "method."
DIGITS = 3  # of the numbers that are drawn from an interval


@dataclass(frozen=True)
class Dimension:
    """An option and the values among which it is searched.

    Args:
        key: such as ``method.alpha``.
        choices: the values as written on the command line; empty for an interval.
        low, high: the ends of an interval, both included; whole numbers for whole numbers.
        log: whether the interval is searched by orders of magnitude.
    """

    key: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether the numbers of the interval are whole ones."""
        return isinstance(self.low, int)

    def written(self, value: float | str) -> str:
        """A value as a setting of the command line."""
        return f"{self.key}={value if isinstance(value, str | int) else f'{value:.{DIGITS}g}'}"

    def __str__(self) -> str:
        name = self.key.removeprefix(METHOD)
        if self.choices:
            return f"{name} among {', '.join(self.choices)}"
        return f"{name} from {self.low:g} to {self.high:g}{' (log)' if self.log else ''}"


@dataclass(frozen=True)
class Space:
    """What is searched, and why."""

    dimensions: tuple[Dimension, ...]
    why: str


def parted(arguments: Iterable[str]) -> tuple[list[str], list[Dimension]]:
    """The settings of a command line without those that give an option of the method several values; and these.

    Raises ``UserError`` for several values of an option of an add-on, which no table of a method can hold.
    """
    rest, found = [], []
    for argument in arguments:
        key = argument.partition("=")[0]
        if not key.startswith(tuple(f"{group}." for group in REFERENCE_FREE)) or not is_sweep(argument):
            rest.append(argument)
        elif key.startswith(METHOD):
            found.append(dimension(argument, key))
        else:
            raise UserError(f"{key}: only options of the method are searched; give it one value", key=key)
    return rest, found


def space_of(
    choices: Mapping[str, str], arguments: Sequence[str], own: Sequence[Dimension], folders: Iterable[Path]
) -> Space:
    """The space of a method: its ``own`` one, if the command line gives one, else that of its table.

    What the command line sets to one value is not searched.

    Args:
        choices: the choice in each group.
        arguments: the settings of the command line.
        own: the options to which it gives several values.
        folders: the configuration folders; see ``tables.folders_of``.

    Raises ``UserError`` where there is nothing to search.
    """
    if own:
        return Space(tuple(own), "given on the command line")
    method, dataset, model, scenario = (choices[group] for group in ("method", *CONDITIONS))
    rows = rows_for(method, dataset, model, scenario, folders, "search")
    given = [path for argument in arguments for path in overridden(argument)]
    found = []
    for name, value in flat(settings(rows)).items():
        key = f"{METHOD}{name}"
        if value is not None and not any(within(key, path) for path in given):
            found.append(dimension(f"{key}={value}", f"search/{method}.yaml: {name}"))
    if not found:
        raise UserError(
            f"method={method} has no search space"
            + (", since the command line sets all of it" if rows else "")
            + ": give one, such as 'method.epochs=int(interval(1, 10))' or method.batch_size=32,64",
            key="method",
            kind="missing",
        )
    return Space(tuple(found), " ".join(dict.fromkeys(row.why for row in rows)))


def nested(written: Iterable[str]) -> dict[str, Any]:
    """Settings such as ``optimizer.lr=0.1`` as a node."""
    found: Any = OmegaConf.to_container(OmegaConf.from_dotlist(list(written)))
    return found


def is_sweep(argument: str) -> bool:
    """Whether a setting has several values; what cannot be read has none, and Hydra reports it."""
    try:
        return bool(parsed(argument).is_sweep_override())
    except COMPOSITION_ERRORS:
        return False


def parsed(argument: str) -> Override:
    """A setting, read by Hydra."""
    return OverridesParser.create().parse_override(argument)


def dimension(argument: str, where: str) -> Dimension:
    """The dimension that a setting with several values is. Raises ``UserError`` for any other, about ``where``."""
    key, _, text = argument.partition("=")
    try:
        override = parsed(argument)
        value = override.value()
        if isinstance(value, IntervalSweep):
            low, high, log = value.start, value.end, "log" in value.tags
            if not (isinstance(low, int | float) and isinstance(high, int | float) and low < high):
                raise UserError(f"{where}={text}: the first number must be below the second", key=key)
            if log and low <= 0:
                raise UserError(f"{where}={text}: by orders of magnitude numbers must be above 0", key=key)
            return Dimension(key, (), low, high, log)
        choices = tuple(dict.fromkeys(map(str, override.sweep_string_iterator())))
    except COMPOSITION_ERRORS as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{where}={text} does not name values: write interval(a, b), int(interval(a, b)), tag(log, interval(a, b)) "
            f"or choice(a, b) ({reason})",
            key=key,
        ) from None
    return Dimension(key, choices)
