"""Interrupts: SIGINT (Ctrl-C) and SIGTERM as one exception, which waits while something is written whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """The process was asked to end, by the signal of this ``number``."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@dataclass
class Heard:
    """What has been heard since the program began."""

    first: KeyboardInterrupt | None = None
    holders: int = 0  # those who wait for what they write
    waiting: bool = False  # whether an interrupt waits for them


HEARD = Heard()


@contextmanager
def heard() -> Iterator[None]:
    """Context manager in which both signals raise :class:`Interrupted`; a signal that is ignored stays so.

    Outside of the main thread, which alone hears signals, it does nothing.
    """
    HEARD.first, HEARD.holders, HEARD.waiting = None, 0, False
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, hear)
    try:
        yield
    finally:
        for number in SIGNALS:
            signal.signal(number, before[number])


def hear(number: int, _: FrameType | None) -> None:
    """Raise :class:`Interrupted`, or let the first signal wait for what is being written; a second one does not."""
    again = HEARD.first is not None
    if not again:
        HEARD.first = Interrupted(number)
    if HEARD.holders and not again:
        HEARD.waiting = True
        return
    raise Interrupted(number)


@contextmanager
def held() -> Iterator[None]:
    """Context manager that delays an interrupt to its end, so that what is written inside is whole."""
    HEARD.holders += 1
    try:
        yield
    finally:
        HEARD.holders -= 1
        waiting = HEARD.waiting and not HEARD.holders
        HEARD.waiting = HEARD.waiting and not waiting
    if waiting and HEARD.first is not None:
        raise HEARD.first


def remember(error: KeyboardInterrupt) -> None:
    """Note an interrupt whose exception is caught in order to clean up."""
    HEARD.first = HEARD.first or error


def forget() -> None:
    """Let go of the interrupt, whose traceback holds all that ran."""
    HEARD.first = None


def interrupted(error: BaseException | None = None) -> bool:
    """Whether this ``error``, or any other that followed, is due to an interrupt: extensions make others of it."""
    return isinstance(error, KeyboardInterrupt) or HEARD.first is not None


def exit_code() -> int:
    """The exit code after an interrupt, as shells have it: 130 for SIGINT, 143 for SIGTERM."""
    return 128 + int(getattr(HEARD.first, "number", signal.SIGINT))


@contextmanager
def interruptible() -> Iterator[None]:
    """Context manager in which Ctrl-C and SIGTERM raise ``KeyboardInterrupt`` although Lightning runs.

    Lightning turns both into exits, the latter with exit code 0, which would end a notebook or pass for success.
    """
    from lightning.pytorch.utilities.exceptions import SIGTERMException  # here: the command line starts without it

    try:
        yield
    except SystemExit as ended:
        if isinstance(ended.__context__, KeyboardInterrupt):
            raise ended.__context__ from None
        if isinstance(ended, SIGTERMException):
            raise Interrupted(signal.SIGTERM) from None
        raise
