"""Write a chosen setting as a row of the user's own table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from filelock import FileLock

from ..config.space import METHOD, nested
from ..config.tables import rows_of
from ..engine.store import explained, write_atomic

HEAD = "# Settings of {}. The rows whose conditions hold apply from top to bottom; the command line wins.\n"


def write_row(file: Path, study: str, why: str, when: Mapping[str, str], settings: Sequence[str]) -> None:
    """Add a row to the table ``file``, or replace the one that the same study wrote; all other rows stay as they are.

    Args:
        file: ``<folder>/table/<method>.yaml``; made if there is none.
        study: names the row, in a comment before it.
        why: its reason.
        when: its conditions.
        settings: such as ``method.optimizer.lr=0.1``.

    Raises ``UserError`` for a file that is not a table, or that cannot be written.
    """
    with explained(file, "out"):
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_name(f".{file.name}.lock")):
            rows_of(file)  # raises for what is not a table
            before = file.read_text() if file.exists() else HEAD.format(file.stem)
            mark = f"# study {study}\n"
            text = mark + as_text(why, when, settings)
            own = re.compile(re.escape(mark) + r"- .*\n(?:[ \t].*\n|\n)*")  # up to the next line that is not indented
            replaced = own.sub(lambda _: text, before) if own.search(before) else before.rstrip("\n") + "\n" + text
            write_atomic(file, replaced.encode(), "out")
    rows_of(file)


def as_text(why: str, when: Mapping[str, str], settings: Sequence[str]) -> str:
    """A row as YAML."""
    values = nested(setting.removeprefix(METHOD) for setting in settings)
    row = [{"why": why, "when": dict(when), "set": values}]
    return str(yaml.safe_dump(row, sort_keys=False, width=110, allow_unicode=True))
