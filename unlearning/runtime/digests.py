"""Digests of what lies on disk."""

import hashlib
import json
from pathlib import Path

from ..errors import UserError


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None


def content_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, or over the names, sizes (bytes) and times of change of the files below a folder."""
    if path.is_file():
        return file_digest(path)
    stats = sorted((p.relative_to(path).as_posix(), p.stat()) for p in path.rglob("*") if p.is_file())
    listing = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()
