"""Errors that are the user's to mend: one clear line that says what was wrong and what would be right."""

import difflib
from collections.abc import Iterable

LISTED = 20  # choices on a line; timm has over a thousand models


class UserError(Exception):
    """Something in the input, the data or the machine stopped the run; the message is one line."""


def require_at_least(smallest: float, where: str = "method", /, **options: float) -> None:
    """Raise a ``UserError`` for the first of the options of a method, or of ``where``, that is below ``smallest``."""
    for name, value in options.items():
        if not value >= smallest:
            raise UserError(f"{where}.{name}={value} must be at least {smallest}")


def nearest(word: str, choices: Iterable[str], limit: int = 3) -> str:
    """``did you mean a, b?`` for the choices most like ``word``, or a list of them where none is near."""
    choices = sorted(map(str, choices), key=lambda choice: (choice.count("."), choice))  # of keys, the top ones first
    if not choices:
        return "there is nothing to choose from"
    near = difflib.get_close_matches(str(word), choices, limit, cutoff=0.5)
    more = f", ... ({len(choices)} in all)" if len(choices) > LISTED else ""
    return f"did you mean {', '.join(near)}?" if near else f"choose from {', '.join(choices[:LISTED])}{more}"
