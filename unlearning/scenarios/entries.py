"""The entries of a file that lists samples: text with one on each line, a column of CSV, JSON, or a NumPy array."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from ..data.metadata import read_text
from ..errors import UserError, listed

KEY, COLUMN = "scenario.file", "scenario.column"
USUAL = "file"  # the column of a CSV file that has several
COMMENT = re.compile(r"\s*#(\s|$)")  # "#1.png" is the name of a file

Entry = str | int


def read_entries(path: Path, column: str | None = None) -> list[Entry]:
    """The entries of a file, in its order.

    * ``.csv``: the cells of ``column``; without it of the only column, or of the one called ``file``.
    * ``.json``: a list of words or whole numbers, or of objects whose ``column`` has one.
    * ``.npy``: an array of words or whole numbers.
    * any other: text in UTF-8, one entry on each line; empty lines, and those that begin with ``#`` and a space, are
      passed over.

    Spaces around an entry do not count. An empty cell or word is an entry, which names no sample.

    Raises ``UserError`` where the file cannot be read as what its suffix says, and where it has no entries.
    """
    if not path.is_file():
        raise UserError(f"{KEY}={path}: there is no such file", key=KEY, kind="file")
    readers = {".csv": from_csv, ".json": from_json, ".npy": from_array}
    reader = readers.get(path.suffix.lower(), from_text)
    if column is not None and reader not in (from_csv, from_json):
        raise UserError(f"{COLUMN}={column} is of CSV and JSON, and {path} is neither", key=COLUMN, kind="conflict")
    entries = [word.strip() if isinstance(word, str) else word for word in reader(path, column)]
    if all(entry == "" for entry in entries):
        raise UserError(f"{KEY}={path} has no entries: list what is to be forgotten", key=KEY, kind="file")
    return entries


def from_text(path: Path, column: str | None) -> list[Entry]:
    """The lines of a text file that are neither empty nor comments."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{KEY}={path} cannot be read as text in UTF-8 ({error})", key=KEY, kind="file") from None
    return [line for line in lines if line.strip() and not COMMENT.match(line)]


def from_csv(path: Path, column: str | None) -> list[Entry]:
    """The cells of one column."""
    table = read_text(path, KEY)
    names = [str(name) for name in table]
    if column is None:
        column = names[0] if len(names) == 1 else USUAL
    if column not in names:
        raise UserError(f"{COLUMN}: {path} has no column {column!r}: {listed(names)}", key=COLUMN, kind="choice")
    return list(table[column])


def from_json(path: Path, column: str | None) -> list[Entry]:
    """The items of a list, or what each of them has under a key."""
    try:
        items = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{KEY}={path} cannot be read as JSON ({error})", key=KEY, kind="file") from None
    if column is not None and isinstance(items, list):
        items = [item.get(column) if isinstance(item, dict) else None for item in items]
    return checked(items, path)


def from_array(path: Path, column: str | None) -> list[Entry]:
    """The items of an array, which is not unpickled."""
    try:
        items: Any = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{KEY}={path} cannot be read as an array of NumPy ({error})", key=KEY, kind="file") from None
    return checked(items.tolist() if isinstance(items, np.ndarray) and items.ndim == 1 else None, path)


def checked(items: Any, path: Path) -> list[Entry]:
    """The same items, if they are a list of words and whole numbers. Raises ``UserError`` otherwise."""
    if not isinstance(items, list) or not all(type(item) in (str, int) for item in items):
        raise UserError(
            f"{KEY}={path} must be one list of words or whole numbers; of a list of objects, {COLUMN} names the key "
            "that has them",
            key=KEY,
            kind="file",
        )
    return items
