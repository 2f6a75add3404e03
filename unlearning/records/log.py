"""The log of a run, and what of it is shown on the screen. Imports no torch."""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from ..errors import UserError
from ..runtime.interrupts import interrupted
from ..runtime.secrets import redacted
from .names import LOG, PROVENANCE
from .provenance import difference

NAME = __package__.partition(".")[0]  # of the package's loggers
ADVISERS = r"lightning|torch\.(jit|utils)|mlflow|hydra"  # libraries whose warnings are advice to developers

LIBRARIES = ("lightning.pytorch", "lightning.fabric", "lightning")  # loggers that tell what a trainer found

log = logging.getLogger(NAME)


class Line(logging.Formatter):
    """ISO time, level and message, without the empty line that ends a captured warning."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S%z")

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record).rstrip())


class Screen(logging.Handler):
    """Shows the package's warnings on stderr, whatever stream that is at the time."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        if self.level < logging.WARNING or record.name.partition(".")[0] == NAME:
            with suppress(OSError):  # the screen may be gone; the run goes on
                print(redacted(self.format(record)), file=sys.stderr, flush=True)

    @contextmanager
    def verbose(self) -> Iterator[None]:
        """Show all that the log holds, as it stands there."""
        self.setLevel(logging.INFO)
        self.setFormatter(Line())
        try:
            yield
        finally:
            self.setLevel(logging.WARNING)
            self.setFormatter(None)


class LogFile(logging.FileHandler):
    """Appends to the log of a run, and flushes every line."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, named by logging
        """Do nothing: where the disk is full, the run fails with one line as its results are written."""


SCREEN = Screen()


def quiet() -> None:
    """Keep the advice of libraries off the screen, which shows the package's own warnings alone.

    Errors of libraries still arrive as exceptions, and a run's log holds their warnings.
    """
    warnings.filterwarnings("ignore", module=ADVISERS)
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger().addHandler(SCREEN)


@contextmanager
def writing(folder: Path, verbose: bool = False) -> Iterator[None]:
    """Write what is logged meanwhile to ``folder/log.txt``: messages, warnings of libraries, and how the run ended.

    The screen stays quiet unless ``verbose`` shows there what is written. Only the first process of several writes.
    """
    from ..runtime.distributed import leads  # here, since it imports torch

    quiet()
    if not leads():
        yield
        return
    file, level, started = opened(folder / LOG), log.level, time.perf_counter()
    logging.getLogger().addHandler(file)
    log.setLevel(logging.INFO)
    with warnings.catch_warnings(), SCREEN.verbose() if verbose else nullcontext():
        warnings.filterwarnings("default", module=ADVISERS)
        logging.captureWarnings(True)
        try:
            announce(folder)
            yield
        except BaseException as error:
            stopped = interrupted(error)
            known = stopped or isinstance(error, UserError)  # others need a traceback
            what, why = "interrupted" if stopped else "failed", str(error) or type(error).__name__
            log.info("%s after %.1f s: %s", what, time.perf_counter() - started, why, exc_info=None if known else error)
            raise
        else:
            log.info("finished after %.1f s", time.perf_counter() - started)
        finally:
            logging.captureWarnings(False)
            log.setLevel(level)
            logging.getLogger().removeHandler(file)
            file.close()


def opened(path: Path) -> LogFile:
    """The file of a log, to which lines are appended. Raises ``UserError`` where it cannot be written."""
    try:
        file = LogFile(path, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; set paths.runs=DIR", kind="storage") from None
    file.setLevel(logging.INFO)
    file.setFormatter(Line())
    return file


def announce(folder: Path) -> None:
    """Log what is run, and why it was not found among the finished runs although a similar one is there."""
    with suppress(OSError, ValueError, KeyError):
        provenance = json.loads((folder / PROVENANCE).read_text())
        log.info("%s", provenance["command"])
        log.info("threads: %s, code: %s", provenance["threads"], provenance["git"] or "not under version control")
        if provenance["differs"]:
            log.info("%s", difference(provenance["differs"]))
