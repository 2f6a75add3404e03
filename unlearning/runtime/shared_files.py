"""Files that several processes share: written whole or not at all, one process at a time. Imports no torch."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import UserError
from .files import write_whole

log = logging.getLogger("unlearning")

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_atomic(path: Path, data: bytes, setting: str) -> None:
    """``files.write_whole``, with errors in words.

    Raises :class:`UserError` if it cannot be written; ``setting`` is the key that puts it elsewhere (``paths.store``).
    """
    with explained(path, setting):
        write_whole(path, data)


@contextmanager
def exclusive(path: Path, setting: str) -> Iterator[None]:
    """Hold ``path`` (a file or a folder, which need not exist) against other processes, waiting as long as it takes.

    The lock is the hidden file ``.<name>.lock`` beside it, which stays; a process that dies releases it.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    with explained(path, setting):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            log.warning("waiting for %s: another process is making it", path)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def explained(path: Path, setting: str) -> Iterator[None]:
    """Turn an OSError into a one-line UserError about the ``setting`` that puts the file elsewhere."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise UserError(
                f"no space left while writing {path}: free some space or set {setting}=DIR", key=setting, kind="storage"
            ) from error
        raise UserError(
            f"{error.strerror or error} while writing {path}: set {setting}=DIR", key=setting, kind="storage"
        ) from error
