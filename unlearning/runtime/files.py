"""The files below a folder, however they are reached."""

from __future__ import annotations

import errno
import os
import stat
import uuid
from pathlib import Path

from ..errors import UserError


def files_below(folder: Path, hidden: bool = True) -> tuple[list[Path], dict[Path, Path]]:
    """The files below ``folder``, and the folders below it that are reached for a second time.

    Links are followed. Each folder is entered once, where it is met first, so that links to a folder around them end.

    Args:
        folder: is entered whatever its name.
        hidden: whether files and folders count whose names begin with a dot.

    Returns:
        The files in the order of their paths, and a mapping from each folder that is met again to the path under which
        its files are listed.

    Raises ``UserError`` for a folder that cannot be read.
    """
    files: list[Path] = []
    again: dict[Path, Path] = {}
    entered: dict[tuple[int, int], Path] = {}

    def enter(place: Path) -> None:
        try:
            status = place.stat()
            first = entered.setdefault((status.st_dev, status.st_ino), place)
            if first != place:
                again[place] = first
                return
            below = sorted(place.iterdir())
        except OSError as error:
            raise UserError(f"cannot read {place}: {error.strerror}", kind="file") from None
        for path in below:
            if not hidden and path.name.startswith("."):
                continue
            if path.is_dir():
                enter(path)
            else:
                files.append(path)

    enter(folder)
    return files, again


def write_whole(path: Path, data: bytes) -> None:
    """Write ``data`` so that ``path`` is, at any moment and after any crash, the old file or the whole new one.

    A link is replaced by the file; what it points to stays as it is. Raises ``OSError`` where the file cannot be
    written, and where something is there that is no file, such as a folder, a device or a pipe.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(path) and not (path.is_symlink() or stat.S_ISREG(path.lstat().st_mode)):
        raise OSError(errno.EEXIST, "there is something that is no file")
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
