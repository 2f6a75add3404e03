"""The files below a folder, however they are reached."""

from __future__ import annotations

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
