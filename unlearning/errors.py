"""Errors that are the user's to mend: one clear line that says what was wrong and what would be right."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something in the input, the data or the machine stopped the run; the message is one line."""


def require_at_least(smallest: float, **options: float) -> None:
    """Raise a ``UserError`` for the first of a method's options, by name, that is below ``smallest``."""
    for name, value in options.items():
        if not value >= smallest:
            raise UserError(f"method.{name}={value} must be at least {smallest}")


def nearest(word: str, choices: Iterable[str], limit: int = 3) -> str:
    """``did you mean a, b?`` for the choices most like ``word``, or the whole list where none is near."""
    choices = [str(choice) for choice in choices]
    near = difflib.get_close_matches(str(word), choices, limit, cutoff=0.5)
    return f"did you mean {', '.join(near)}?" if near else f"choose from {', '.join(sorted(choices))}"
