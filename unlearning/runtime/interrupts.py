"""Interrupts of a run as the exceptions that Python has for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch.utilities.exceptions import SIGTERMException


@contextmanager
def interruptible() -> Iterator[None]:
    """Context manager in which Ctrl-C and SIGTERM raise ``KeyboardInterrupt``.

    Lightning turns both into exits, the latter with exit code 0, which would end a notebook or pass for success.
    """
    try:
        yield
    except SystemExit as ended:
        if isinstance(ended, SIGTERMException) or isinstance(ended.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
