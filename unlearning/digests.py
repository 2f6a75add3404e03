"""Digests of what lies on disk."""

import hashlib
import json
from pathlib import Path

from .errors import UserError


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and sizes (bytes) of the files below a folder."""
    files = sorted((p.relative_to(folder).as_posix(), p.stat().st_size) for p in folder.rglob("*") if p.is_file())
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()
