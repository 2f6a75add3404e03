"""MLflow's local SQLite database: created whole, and checked before anything is written to it.

MLflow's client creates a missing database by itself, but without a lock, so that processes which start together break
each other's migrations, and a killed process leaves a database whose migration can neither go on nor begin again. On a
busy disk its thousand commits also take 7 s longer than in memory (9 s instead of 2 s). So the client creates the
database in memory, and its content is written to the disk in one go.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import uuid
from contextlib import closing
from pathlib import Path

PATIENCE = 20.0  # seconds to wait for a database that another program holds


def ensure(database: Path) -> None:
    """Create the database where it is missing; the caller keeps other processes out.

    Raises at once if it is damaged, locked or read-only, where MLflow would retry for a hundred seconds: ``OSError``,
    ``sqlite3.Error``, or an error of MLflow.
    """
    if is_missing(database):
        create(database)
    check_writable(database)


def is_missing(database: Path) -> bool:
    """Whether the database is still to be created: there is no file, or an empty one of this user.

    Raises ``OSError`` for what cannot be a database and is not ours to replace: a link, a device, a pipe, a folder, or
    the empty file of another user.
    """
    try:
        status = database.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{database} is no regular file")
    if status.st_size == 0 and hasattr(os, "geteuid") and status.st_uid != os.geteuid():
        raise OSError(f"{database} is empty and belongs to another user")
    return status.st_size == 0


def create(database: Path) -> None:
    """Make an empty MLflow database under a temporary name, and give it its own name once it is whole."""
    from mlflow import MlflowClient

    new = database.with_name(f".{database.name}.new")
    for suffix in ("", "-journal", "-wal", "-shm"):  # left by a process that was killed
        new.with_name(new.name + suffix).unlink(missing_ok=True)
    # an in-memory database, shared by name in this process
    shared = f"file:mlflow-{uuid.uuid4().hex}?mode=memory&cache=shared"
    with closing(sqlite3.connect(shared, uri=True)) as memory, closing(sqlite3.connect(new)) as file:
        MlflowClient(f"sqlite:///{shared}&uri=true").search_experiments(max_results=1)
        memory.backup(file)
    if is_missing(database):  # still
        os.replace(new, database)


def check_writable(database: Path) -> None:
    """Take the database's lock for writing and give it back. Raises ``sqlite3.Error`` if that is impossible."""
    with closing(sqlite3.connect(database, timeout=PATIENCE, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("SELECT count(*) FROM sqlite_master")
        connection.rollback()


def check_creatable(database: Path) -> None:
    """Raise ``OSError`` unless a missing database could be created in its folder."""
    above = next(folder for folder in database.parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise OSError(f"{above} is not a folder that can be written to")
