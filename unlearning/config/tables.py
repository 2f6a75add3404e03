"""Settings by data set, model and scenario: the tables ``table/<name>.yaml`` of the configuration folders.

A table is a list of rows, and each row gives its reason::

    - why: Foster et al. (2024), ViT-B/16, sub-class.
      when: {model: vit_b16, scenario: subclass}
      set: {alpha: 25.0}

The rows whose conditions hold apply from top to bottom. Hydra gets them from ``hydra_plugins.unlearning.tables``; this
module needs neither Hydra nor torch.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ..errors import UserError, nearest
from .paths import CONF

CONDITIONS = ("dataset", "model", "scenario")
KEYS = ("why", "when", "set")
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """A row of a table: settings, the conditions under which they apply, and the reason for them."""

    table: str  # ``table/ssd.yaml``; of a folder of the user's, the path of the file
    number: int  # from 1
    why: str
    when: Mapping[str, Sequence[str]]  # the choices for which it applies, by group
    set: Settings  # nested, without the name of the node that it is about

    def holds(self, choices: Mapping[str, str]) -> bool:
        """Whether the row applies for these choices of ``dataset``, ``model`` and ``scenario``."""
        return all(choices[group] in names for group, names in self.when.items())


def rows_for(
    name: str, dataset: str, model: str, scenario: str, folders: Iterable[Path] = (CONF,), kind: str = "table"
) -> list[Row]:
    """The rows of the tables called ``name`` that apply, those of later folders last.

    ``name`` is a method, a scenario, or ``trainer``; ``folders`` hold a folder of that ``kind`` each, or do not:
    ``table``, or ``search``, whose rows set options to the values among which a search chooses.
    """
    choices = {"dataset": dataset, "model": model, "scenario": scenario}
    return [row for folder in folders for row in rows_of(folder / kind / f"{name}.yaml") if row.holds(choices)]


def settings(rows: Iterable[Row]) -> dict[str, Any]:
    """The settings of several rows, merged and nested."""
    found: dict[str, Any] = {}
    for row in rows:
        found = merged(found, row.set)
    return found


def merged(node: Settings, changes: Settings) -> dict[str, Any]:
    """A node with changes: nested settings are merged, but a value with a ``_target_`` replaces the whole old value.

    The arguments in such a value belong to what its ``_target_`` names, and those of the old one do not.
    """
    found = dict(node)
    for key, value in changes.items():
        old = found.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping) and "_target_" not in value:
            value = merged(old, value)
        found[key] = value
    return found


def settings_from(rows: Iterable[Row]) -> dict[str, Row]:
    """The row that set each setting last, by dotted key."""
    found: dict[str, Row] = {}
    for row in rows:
        for key in replaced(row.set):
            found = {other: last for other, last in found.items() if not within(other, key)}
        found |= dict.fromkeys(flat(row.set), row)
    return found


def decided(
    config: Settings, choices: Mapping[str, str], overrides: Iterable[str] = (), folders: Iterable[Path] = (CONF,)
) -> dict[str, Row]:
    """The row behind each setting of a run that a table decided, by key such as ``method.alpha``.

    Args:
        config: the composed configuration, as plain dicts and lists.
        choices: the choice in each group.
        overrides: the arguments of the command line; what they set is not a table's.
        folders: the configuration folders, in the order of precedence; see ``folders_of``.
    """
    dataset, model, scenario = (choices[group] for group in CONDITIONS)
    given = [path for argument in overrides for path in overridden(argument)]
    places = list(folders)
    found: dict[str, Row] = {}
    for node, table in {"method": choices["method"], "scenario": choices["scenario"], "trainer": "trainer"}.items():
        for key, row in settings_from(rows_for(table, dataset, model, scenario, places)).items():
            full, value = f"{node}.{key}", value_at(row.set, key)
            stands = value_at(config, full) == value or "${" in str(value)  # an experiment may have set another value
            if stands and not any(within(full, path) or within(path, full) for path in given):
                found[full] = row
    return found


def folders_of(sources: Iterable[tuple[str, str]]) -> list[Path]:
    """The configuration folders among Hydra's sources, each given as scheme and path."""
    return [Path(path) for scheme, path in sources if scheme == "file"]


# Reading


def rows_of(file: Path) -> list[Row]:
    """The rows of a table; empty if there is no such file. Raises ``UserError`` for a file that is not a table."""
    try:
        state = file.stat()
    except OSError:
        return []
    return list(read(file, state.st_mtime_ns, state.st_size))


@functools.lru_cache(maxsize=256)
def read(file: Path, *_: int) -> tuple[Row, ...]:
    """The rows of a file, kept until it changes."""
    try:
        table = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    except (YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{file} is not YAML: {' '.join(str(error).split())}", key="table") from None
    if not isinstance(table, list):
        raise UserError(f"{file}: a table is a list of rows with why, when and set", key="table")
    name = f"{file.parent.name}/{file.name}" if file.parent.parent == CONF else str(file)
    return tuple(row(name, number, entry) for number, entry in enumerate(table, start=1))


def row(table: str, number: int, entry: Any) -> Row:
    """An entry of a table as a row. Raises ``UserError`` for anything else."""
    where = f"{table}, row {number}"
    if not isinstance(entry, Mapping) or not isinstance(entry.get("set"), Mapping):
        raise UserError(f"{where}: a row has the keys why, when and set, and set holds settings", key="table")
    for key in entry:
        if key not in KEYS:
            raise UserError(f"{where}: a row has no key {key!r}: {nearest(str(key), KEYS)}", key="table")
    if not isinstance(entry.get("why"), str) or not entry["why"].strip():
        raise UserError(f"{where}: why must give the reason for the settings", key="table")
    when = entry.get("when") or {}
    if not isinstance(when, Mapping):
        raise UserError(f"{where}: when must give conditions, such as dataset: digits", key="table")
    for group in when:
        if group not in CONDITIONS:
            raise UserError(f"{where}: when has no condition {group!r}: {nearest(str(group), CONDITIONS)}", key="table")
    conditions = {group: names_in(value) for group, value in when.items()}
    return Row(table, number, entry["why"].strip(), conditions, entry["set"])


def names_in(condition: Any) -> tuple[str, ...]:
    """The names of a condition, which is one of them or a list."""
    return tuple(str(name) for name in (condition if isinstance(condition, list) else [condition]))


# Dotted keys


def flat(node: Settings, prefix: str = "") -> dict[str, Any]:
    """The values of a nested node by dotted key."""
    found: dict[str, Any] = {}
    for key, value in node.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def replaced(node: Settings, prefix: str = "") -> list[str]:
    """The dotted keys of the values that replace the whole old value; see ``merged``."""
    found = []
    for key, value in node.items():
        if isinstance(value, Mapping):
            found += [f"{prefix}{key}"] if "_target_" in value else replaced(value, f"{prefix}{key}.")
    return found


def value_at(node: Any, key: str) -> Any:
    """The value at a dotted key; None where there is none."""
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def within(key: str, path: str) -> bool:
    """Whether a dotted key is a path or lies below it."""
    return f"{key}.".startswith(f"{path}.")


def overridden(argument: str) -> list[str]:
    """The dotted paths that an argument sets: ``optimizer@method=adam`` sets ``method.optimizer``.

    A mapping such as ``method.optimizer={lr: 0.1}`` sets what it holds. There is none for a choice, such as
    ``method=ssd``, which brings its tables with it.
    """
    name, _, value = argument.partition("=")
    name = name.lstrip("+~")
    group, at, package = name.partition("@")
    if at:
        return [package if group == "table" else f"{package}.{group}"]
    if "." not in name:
        return []
    try:
        held: Any = OmegaConf.to_container(OmegaConf.create(value)) if value.startswith("{") else None
    except (YAMLError, OmegaConfBaseException):  # Hydra has read it in a way of its own
        held = None
    return [f"{name}.{key}" for key in flat(held)] if isinstance(held, dict) and "_target_" not in held else [name]
