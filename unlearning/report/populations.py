"""The scores of ``python -m unlearning.populations`` as tables of a report, from the file that it left."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..config.legend import ARROWS
from ..errors import UserError
from .groups import Group
from .tables import Line, Table, count

FILE = "populations.csv"
AGAIN = "python -m unlearning.populations judges them all"
NOTE = (
    "over populations of runs, not means over runs; in brackets: what chance alone gives, for an attack or for two "
    "retrained populations of this size"
)


def populations_in(folder: Path, groups: Iterable[Group]) -> tuple[list[Table], dict[str, str]]:
    """The tables of the groups' scores, methods as rows, and the direction of each score.

    Both are empty where there is no file. Raises ``UserError`` where there is one that cannot be read.
    """
    path = folder / FILE
    try:
        with path.open(newline="", encoding="utf-8") as file:
            records = list(csv.DictReader(file))
        for record in records:
            _ = float(record["value"]), float(record["chance"]), int(record["runs"]), record["over"]
        arrows = {record["score"]: ARROWS[record["direction"]] for record in records}  # type: ignore[index]
        found = [(record["setting"], record["method"]) for record in records]
    except FileNotFoundError:
        return [], {}
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(
            f"{path} is not what python -m unlearning.populations writes ({type(error).__name__}): make it again, or "
            "remove it",
            kind="file",
        ) from None
    there = {(group.setting, group.label): len(group.runs) for group in groups if group.row == "unlearned"}
    kept = [record for record, place in zip(records, found, strict=True) if place in there]
    return [table_of(name, kept, there) for name in dict.fromkeys(record["setting"] for record in kept)], arrows


def table_of(setting: str, records: Sequence[dict[str, str]], runs: dict[tuple[str, str], int]) -> Table:
    """The scores of one setting; ``runs`` there are now, by setting and method."""
    own = [record for record in records if record["setting"] == setting]
    columns = list(dict.fromkeys(record["score"] for record in own))
    lines, notes = [], [NOTE]
    for method in dict.fromkeys(record["method"] for record in own):
        scores = {record["score"]: record for record in own if record["method"] == method}
        first = next(iter(scores.values()))
        cells = {name: shown(scores.get(name)) for name in columns}
        lines.append(Line(method, False, int(first["runs"]), cells))
        notes.append(f"{method}: n={first['runs']} ({first['over']})")
        if (now := runs[setting, method]) != int(first["runs"]):
            notes.append(f"{method}: there are {count(now, 'run')} now: {AGAIN}")
    return Table(setting, columns, lines, notes)


def shown(record: dict[str, str] | None) -> tuple[str, str]:
    """A score, and its level by chance in brackets, as text."""
    return ("-", "") if record is None else (f"{float(record['value']):.3f}", f"({float(record['chance']):.3f})")
