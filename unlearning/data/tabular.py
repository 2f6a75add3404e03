"""Tabular data: each row is a sample, and its columns are features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from ..errors import UserError, nearest
from .datasets import Dataset, hold_out
from .metadata import ABSENT, Metadata, read_csv, read_text, typed

MEASURE = r"^[^\w\s]?\s*[-+]?\d[\d.,]*\s*(\D*)$"  # a number, perhaps with a unit after it or a sign before it
NUMBERED = 20  # rows of a table in which a column that counts them is none by chance
COUNTERS = {*("id", "index", "idx", "level0", "line", "no", "nr", "number", "row", "rowid", "rownumber")}
MOST_WORDS = 100  # a column with more different words holds names or texts rather than categories


def csv(
    root: str,
    label: str,
    seed: int,
    validation: float = 0.1,
    test: float = 0.2,
    drop: Sequence[str] = (),
    words: Sequence[str] = (),
) -> Dataset:
    """Your own table: the CSV file ``root`` with a header line and the classes in the column ``label``.

    A column of numbers is a feature; a column of words becomes one feature for each word (one-hot). A column that holds
    both is refused, as is one in which each cell is a number with a unit or some cell is ``NA`` or the like, unless
    ``words`` names it. A scenario can select rows by any column, whether or not it is a feature.

    Args:
        root: the file.
        label: the column with the classes.
        seed: of the draw of the validation and test rows, by class.
        validation, test: the fractions of rows that are held out.
        drop: columns to leave out.
        words: columns whose cells are words, such as codes, even where they look like numbers.

    Raises ``UserError`` for a file that is not CSV, and for columns that do not exist or cannot be features.
    """
    file = Path(root).expanduser()
    table = read_csv(file, "dataset.root", dtype=dict.fromkeys(words, str), low_memory=False)
    for option, columns in (("label", [label]), ("drop", drop), ("words", words)):
        for column in columns:
            if column not in table:
                raise UserError(
                    f"dataset.{option}: {file} has no column {column!r}: {nearest(column, table)}",
                    key=f"dataset.{option}",
                    kind="choice",
                )
    if label in drop:
        raise UserError(
            f"dataset.drop={list(drop)} leaves out the column with the classes, {label!r}: keep that one",
            key="dataset.drop",
            kind="conflict",
        )
    if table.columns[0] == "Unnamed: 0":  # as pandas writes its row numbers, which may tell how the rows were sorted
        raise UserError(
            f"the first column of {file} has no name, as row numbers have: name it, or remove it from the file",
            key="dataset.root",
            kind="file",
        )
    table = table.drop(columns=list(drop))
    check_no_row_numbers(table.drop(columns=label), file)
    if gaps := [column for column in table if table[column].isna().any()]:
        raise UserError(
            f"column {gaps[0]!r} of {file} has empty cells: fill them, or set dataset.drop=[{gaps[0]}]",
            key="dataset.drop",
        )
    if label not in words:
        check_not_mixed(table[label], file)
        check_present(table[label], file)
    classes, labels = np.unique(table.pop(label), return_inverse=True)
    spoken = table.select_dtypes(exclude=["number", "bool"])
    for column in spoken.columns.difference(list(words), sort=False):
        check_not_mixed(spoken[column], file)
        check_present(spoken[column], file)
        check_no_unit(spoken[column], file)
    for column in table.columns.difference(spoken.columns, sort=False):
        check_finite(table[column], file)
    if texts := [column for column in spoken if spoken[column].nunique() > MOST_WORDS]:
        raise UserError(
            f"column {texts[0]!r} of {file} holds {spoken[texts[0]].nunique()} different words, too many for "
            f"categories: set dataset.drop=[{texts[0]}]",
            key="dataset.drop",
        )
    if len(classes) < 2 or table.shape[1] == 0:
        raise UserError(
            f"{file} needs at least two classes in {label!r} and another column, and has {len(classes)} and "
            f"{table.shape[1]}",
            key="dataset.root",
            kind="file",
        )
    features = pd.get_dummies(table, columns=list(spoken)).to_numpy(np.float32)
    facts = Metadata(typed(read_text(file, "dataset.root")))
    return tabular(file.stem, features, labels, [str(c) for c in classes], seed, validation, test, facts)


def check_not_mixed(column: pd.Series[Any], file: Path) -> None:
    """Raise a ``UserError`` where some cells of a column are numbers and others are not."""
    numeric = pd.to_numeric(column, errors="coerce").notna()
    if numeric.any() and not numeric.all():
        row = int((~numeric).to_numpy().argmax())
        raise UserError(
            f"column {column.name!r} of {file} holds numbers and, in row {row + 1} below the header, "
            f"{column.iloc[row]!r}: correct it, or set dataset.words=[{column.name}] if all are words",
            key="dataset.words",
        )


def check_present(column: pd.Series[Any], file: Path) -> None:
    """Raise a ``UserError`` where a cell of a column of words says that it has none, such as ``NA``."""
    absent = column.isin(ABSENT)
    if absent.any():
        row = int(absent.to_numpy().argmax())
        raise UserError(
            f"column {column.name!r} of {file} holds {column.iloc[row]!r} in row {row + 1} below the header: fill it, "
            f"or set dataset.words=[{column.name}] if it is a word",
            key="dataset.words",
        )


def check_no_unit(column: pd.Series[str], file: Path) -> None:
    """Raise a ``UserError`` where each cell of a column of words is a number with one of few units."""
    units = column.astype(str).str.extract(MEASURE, expand=False)  # whole numbers above 64 bits are objects
    if units.notna().all() and column.nunique() > 2 * units.nunique():  # 1st, 2nd, 3rd are words
        raise UserError(
            f"column {column.name!r} of {file} holds numbers with something around them, such as {column.iloc[0]!r}: "
            f"write plain numbers in one unit, with a decimal point, or set dataset.words=[{column.name}] if they are "
            "words",
            key="dataset.words",
        )


def check_finite(column: pd.Series[float], file: Path) -> None:
    """Raise a ``UserError`` where a column of numbers holds one that a network cannot take."""
    with np.errstate(over="ignore"):
        finite = np.isfinite(column.to_numpy(np.float32))
    if not finite.all():
        row = int((~finite).argmax())
        raise UserError(
            f"column {column.name!r} of {file} holds {column.iloc[row]} in row {row + 1} below the header, which is "
            f"not a finite number of 32 bits: correct it, or set dataset.drop=[{column.name}]",
            key="dataset.drop",
        )


def scikit_learn(
    name: Literal["wine", "breast_cancer", "iris"], seed: int, validation: float = 0.1, test: float = 0.2
) -> Dataset:
    """A table that comes with scikit-learn."""
    from sklearn import datasets

    raw = getattr(datasets, f"load_{name}")()
    features = raw.data.astype(np.float32)
    facts = Metadata(dict(zip(map(str, raw.feature_names), raw.data.T, strict=True)))
    return tabular(name, features, raw.target, [str(c) for c in raw.target_names], seed, validation, test, facts)


def tabular(
    name: str,
    features: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    seed: int,
    validation: float,
    test: float,
    metadata: Metadata,
) -> Dataset:
    """The data set of (N, F) features and (N,) class numbers, split by class and normalised by the training rows."""
    inputs, numbers = torch.tensor(features), torch.tensor(labels)
    rest, held = hold_out(torch.arange(len(numbers)), numbers, test, seed, "test")
    train, val = hold_out(rest, numbers, validation, seed, "validation")
    std, mean = torch.std_mean(inputs[train], dim=0, correction=0)
    std[std == 0] = 1.0  # a constant column carries no information, and becomes 0
    statistics = tuple(mean.tolist()), tuple(std.tolist())
    normalised = (inputs - mean) / std
    return Dataset(
        name,
        normalised,
        numbers,
        tuple(classes),
        train,
        val,
        held,
        *statistics,
        metadata=metadata,
        drawn_test=True,
    )


def check_no_row_numbers(table: pd.DataFrame, file: Path) -> None:
    """Raise ``UserError`` for a column that counts the rows: it tells how they were sorted, often by class."""
    if len(table) < NUMBERED:
        return
    for column in table.select_dtypes("integer"):
        named = str(column).lower().replace("_", "").replace(" ", "")
        if named in COUNTERS and (table[column].diff().iloc[1:] == 1).all():
            raise UserError(
                f"column {column!r} of {file} numbers the rows, which may tell how they were sorted: set "
                f"dataset.drop=[{column}]",
                key="dataset.drop",
            )
