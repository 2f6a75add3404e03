"""Predicates over the metadata of samples, such as ``camera == "Spectralis" and age > 60``: parsed, never evaluated."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from ..errors import UserError, listed

KEY = "scenario.where"
TOKEN = re.compile(r"""\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<sign>[=!<>]+)|(?P<word>[^\s"'=!<>]+))""")
SIGNS: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
FOR_WORDS = ("==", "!=")
Columns = Mapping[str, np.ndarray]  # as in ``data.metadata.Metadata``


@dataclass(frozen=True)
class Comparison:
    """One column compared with one value."""

    column: str
    sign: str
    value: str

    def on(self, columns: Columns) -> tuple[np.ndarray, np.ndarray]:
        """(N,) bool, where it holds, and (N,) bool, where the column is empty: there it does not hold.

        Raises ``UserError`` for a column that does not exist, and for a value that does not fit it.
        """
        if self.column not in columns:
            raise UserError(
                f"{KEY}: the samples have no column {self.column!r}: {listed(columns)}", key=KEY, kind="choice"
            )
        values = columns[self.column]
        if values.dtype != object:
            empty = np.isnan(values)
            return SIGNS[self.sign](values, self.number()) & ~empty, empty
        empty = np.array([value is None for value in values], dtype=bool)
        there = sorted({str(value) for value in values[~empty]})
        if self.sign not in FOR_WORDS:
            raise UserError(
                f"{KEY}: column {self.column!r} holds words, such as {there[0] if there else 'none'!r}, and "
                f"{self.sign} compares numbers: use == or !=",
                key=KEY,
            )
        if self.value not in there:
            raise UserError(
                f"{KEY}: no sample has {self.value!r} in column {self.column!r}: {listed(there)}",
                key=KEY,
                kind="choice",
            )
        return SIGNS[self.sign](values, self.value).astype(bool) & ~empty, empty

    def number(self) -> float:
        """The value as a number. Raises ``UserError`` where it is none."""
        try:
            found = float(self.value)
        except ValueError:
            found = float("nan")
        if found != found:
            raise UserError(
                f"{KEY}: column {self.column!r} holds numbers, and {self.value!r} is not one", key=KEY
            ) from None
        return found


def parsed(text: str) -> list[Comparison]:
    """The comparisons of a predicate, of which all must hold; they are joined by ``and``.

    Each is a column, one of ``== != < <= > >=``, and a value. Names and values with signs, quotes or the word ``and``
    in them stand in quotes; others may, and may have spaces.

    Raises ``UserError`` for any other text.
    """
    parts: list[tuple[list[str], list[str], list[str]]] = [([], [], [])]
    position, whole = 0, text.rstrip()
    while position < len(whole):
        token = TOKEN.match(whole, position) or refuse(text)  # a quote that is not closed
        position, (left, signs, right) = token.end(), parts[-1]
        if token["sign"] is not None:
            signs.append(token["sign"])
        elif token["word"] == "and":
            parts.append(([], [], []))
        else:
            word = next(found for found in token.group("double", "single", "word") if found is not None)
            (right if signs else left).append(word)
    if not all(left and right and len(signs) == 1 and signs[0] in SIGNS for left, signs, right in parts):
        refuse(text)
    return [Comparison(" ".join(left), signs[0], " ".join(right)) for left, signs, right in parts]


def refuse(text: str) -> NoReturn:
    """Raise the ``UserError`` for a text that is not a predicate."""
    raise UserError(
        f"{KEY}={text} is not a comparison: write a column, one of == != < <= > >= and a value, such as "
        'camera == "Spectralis" or age > 60, or several of them joined by the word and',
        key=KEY,
    )
