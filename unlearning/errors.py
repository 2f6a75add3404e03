"""Errors the user can fix, reported as one clear line: what is wrong, and what would work."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Literal

LISTED = 20  # choices on a line; timm has over a thousand models

Kind = Literal[
    "value",  # a value is out of bounds, of the wrong type, or does not fit the data
    "key",  # an option that does not exist, or that the program sets itself
    "choice",  # a group, class, column or feature by a name that does not exist
    "missing",  # something that must be given
    "conflict",  # two settings that exclude each other
    "file",  # a file or folder that cannot be read, or is not what it should be
    "storage",  # a disk or a database that cannot be written
    "diverged",  # numbers that are not finite
]


class UserError(Exception):
    """Something in the input, the data or the machine stopped the run.

    Args:
        message: one line, what is wrong and what would work.
        key: the setting it is about, such as ``method.alpha``; empty where it is about none.
        kind: what kind of mistake it is.
    """

    def __init__(self, message: str, *, key: str = "", kind: Kind = "value") -> None:
        super().__init__(message)
        self.key, self.kind = key, kind


def nearest(word: str, choices: Iterable[str], limit: int = 3) -> str:
    """``did you mean a, b?`` for the choices most like ``word``, or a list of them where none is near."""
    choices = sorted(map(str, choices), key=lambda choice: (choice.count("."), choice))  # of keys, the top ones first
    if not choices:
        return "there is nothing to choose from"
    near = difflib.get_close_matches(str(word), choices, limit, cutoff=0.5)
    return f"did you mean {', '.join(near)}?" if near else listed(choices)


def listed(choices: Iterable[str]) -> str:
    """``choose from a, b, c`` for the choices in their order, or the first of many."""
    names = list(map(str, choices))
    more = f", ... ({len(names)} in all)" if len(names) > LISTED else ""
    return f"choose from {', '.join(names[:LISTED])}{more}" if names else "there is nothing to choose from"
