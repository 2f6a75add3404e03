"""Facts about samples besides their labels, by which a request can select them: columns of a CSV file, file names."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import UserError, listed

ABSENT = {"", "NA", "N/A", "n/a", "NaN", "nan", "null", "None"}  # cells of a column of numbers that hold none
CODE = r"[-+]?0\d"  # 007 is a code rather than the number 7, and so is a number too long for a float
LONGEST = 15  # digits that a float keeps
NAMED = 3  # files in a message
NONE, SEVERAL = -1, -2  # in the place of a sample's number


@dataclass(frozen=True)
class Metadata:
    """Columns of facts about the N samples of a data set; the network sees none of them.

    Args:
        columns: by name, (N,) float64 with NaN where there is no number, or (N,) objects: words, or None.
        counts: what could not be joined: ``rows_without_sample``, ``samples_without_row``.
        folder: of samples that are files: the column ``file`` has their paths below it.
        array: the name of the decoded pixels of such files in the store.
    """

    columns: Mapping[str, np.ndarray]
    counts: Mapping[str, int] = field(default_factory=dict)
    folder: Path | None = None
    array: str = ""


def read_csv(file: Path, key: str, **options: Any) -> pd.DataFrame:
    """A CSV file with a header line, read with pandas' ``options``; only a cell without text is empty.

    Raises ``UserError`` about the setting ``key`` for a file that is not CSV, or that has two columns of one name.
    """
    if file.exists() and not file.is_file():  # reading a pipe would wait for ever
        raise UserError(f"{file} is not a file: set {key}=FILE", key=key, kind="file")
    how: dict[str, Any] = {"index_col": False, "encoding": "utf-8-sig", "keep_default_na": False, "na_values": [""]}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(file, **how | options)
            header = pd.read_csv(file, header=None, nrows=1, dtype=str, **how).iloc[0].dropna()
    except pd.errors.ParserWarning:
        raise UserError(
            f"the rows of {file} have more cells than its header: name each column", key=key, kind="file"
        ) from None
    except (OSError, ValueError) as error:  # pandas raises ValueErrors for a file that is not CSV
        raise UserError(f"{file} cannot be read as CSV ({error}): set {key}=FILE", key=key, kind="file") from None
    if twice := header[header.duplicated()].tolist():
        raise UserError(f"{file} has more than one column {twice[0]!r}: rename all but one", key=key, kind="file")
    return table


def read_text(file: Path, key: str) -> pd.DataFrame:
    """A CSV file with all cells as text; an empty cell is an empty string. Raises ``UserError`` as ``read_csv``."""
    return read_csv(file, key, dtype=str).fillna("")


def typed(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """The columns of a table of text: numbers where all cells that are not empty are numbers, words elsewhere."""
    return {str(name): numbers_or_words(table[name].str.strip()) for name in table}


def numbers_or_words(column: pd.Series[str]) -> np.ndarray:
    """(N,) numbers with NaN for a column of numbers, else (N,) words with None for an empty cell."""
    given = column[~column.isin(ABSENT)]
    numbers = pd.to_numeric(given, errors="coerce")
    codes = given.str.match(CODE) | (given.str.count(r"\d") > LONGEST)
    if len(given) and numbers.notna().all() and not (codes & ~given.str.contains(".", regex=False)).any():
        return numbers.reindex(column.index).to_numpy(np.float64)
    return np.array([cell or None for cell in column], dtype=object)


def joined(file: Path, column: str, names: Sequence[str]) -> Metadata:
    """The metadata that a CSV file has of samples, whose ``column`` names them; a sample without a row has none.

    A sample is named by its path below the data set's folder, or by an end of that path, with or without the suffix of
    the file, as long as no other sample has the same: ``cat/7.png``, ``7.png`` and ``7`` can all name the file
    ``train/cat/7.png``.

    Raises ``UserError`` where there is no such column, where a row names several samples or a sample has several rows,
    and where no row names any sample.
    """
    table = read_text(file, "dataset.metadata")
    if column not in table:
        raise UserError(
            f"dataset.file_column: {file} has no column {column!r}: {listed(table)}",
            key="dataset.file_column",
            kind="choice",
        )
    places = positions(names)
    found = np.array([places.get(Path(name.strip()).as_posix(), NONE) for name in table[column]], dtype=np.int64)
    if (found == SEVERAL).any():
        raise UserError(
            f"{file}: {table[column][found == SEVERAL].iloc[0]!r} in column {column!r} names more than one image: "
            "write the path below the folder",
            key="dataset.metadata",
            kind="file",
        )
    given = found[found >= 0]
    if not len(given):
        raise UserError(
            f"{file}: no row of column {column!r} names an image; rows are such as {table[column].iloc[0]!r}, images "
            f"such as {names[0]!r}"
            if len(table)
            else f"{file} has no rows",
            key="dataset.file_column",
            kind="file",
        )
    twice = [names[place] for place, count in Counter(given.tolist()).items() if count > 1]
    if twice:
        raise UserError(
            f"{file} has several rows for {len(twice)} images, such as {', '.join(twice[:NAMED])}: keep one of each",
            key="dataset.metadata",
            kind="file",
        )
    table = table.drop(columns=column)
    aligned = table.iloc[found >= 0].set_axis(given).reindex(range(len(names)), fill_value="")
    counts = {"rows_without_sample": len(found) - len(given), "samples_without_row": len(names) - len(given)}
    return Metadata({"file": np.array(names, object), **typed(aligned)}, counts)


def positions(names: Sequence[str]) -> dict[str, int]:
    """The number of the sample that each path, or end of a path, stands for; ``SEVERAL`` where it is not one alone."""
    found: dict[str, int] = {}
    whole = {name: number for number, name in enumerate(names)}
    for number, name in enumerate(names):
        parts = name.split("/")
        for start in range(len(parts)):
            end = "/".join(parts[start:])
            for alias in {end, str(Path(end).with_suffix(""))}:
                found[alias] = number if found.get(alias, number) == number else SEVERAL
    return found | whole
