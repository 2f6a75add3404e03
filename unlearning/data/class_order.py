"""The numbers of classes that a user's model was trained with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError

KEY = "dataset.classes"


def class_order(found: Sequence[str], wanted: str | Sequence[str] | None) -> tuple[str, ...]:
    """The names of the classes in the order of their numbers.

    Args:
        found: the names of the folders that hold images.
        wanted: the names in their order; or a file with them, as text with one on each line, or as JSON: a list, an
            object that maps names to numbers or numbers to names, or a ``config.json`` of Hugging Face. Where it is
            None, the order is that of the names, as torchvision's ``ImageFolder`` has it. There may be more names than
            folders.

    Raises ``UserError`` for a file that is not one, for names that occur twice, and for folders without a name here.
    """
    names = sorted(found) if wanted is None else read(wanted) if isinstance(wanted, str) else list(map(str, wanted))
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{KEY} names {twice[0]} twice: name each class once", key=KEY)
    if others := sorted(set(found) - set(names)):
        raise UserError(
            f"{KEY} lacks {', '.join(others)}, of which there are folders; it has {', '.join(names)}",
            key=KEY,
            kind="choice",
        )
    return tuple(names)


def read(path: str) -> list[str]:
    """The names in a file."""
    file = Path(path).expanduser()
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix.lower() != ".json":
            return [line.strip() for line in text.splitlines() if line.strip()]
        return ordered(json.loads(text))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{KEY}={path} cannot be read as names of classes ({error}): write one on each line, or JSON that is a "
            "list or maps names to numbers from 0",
            key=KEY,
            kind="file",
        ) from None


def ordered(content: Any) -> list[str]:
    """The names in the content of a JSON file. Raises ``ValueError`` where there are none."""
    if isinstance(content, list):
        return [str(name) for name in content]
    pairs = content.get("id2label", content).items()
    by_number = {n: str(name) if isinstance(n, int) else None for name, n in pairs}
    if None in by_number.values() or not by_number:
        by_number = {int(number): str(name) for number, name in pairs}
    if sorted(by_number) != list(range(len(pairs))):
        raise ValueError(sorted(by_number))
    return [str(by_number[number]) for number in range(len(pairs))]
