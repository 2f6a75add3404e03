"""Write a chosen setting as rows of the user's own table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from filelock import FileLock

from ..config.space import METHOD, nested
from ..config.tables import rows_of
from ..runtime.shared_files import explained, write_atomic

HEAD = "# Settings of {}. The rows whose conditions hold apply from top to bottom; the command line wins.\n"


def write_rows(
    file: Path, study: str, why: str, when: Sequence[Mapping[str, str | list[str]]], settings: Sequence[str]
) -> None:
    """Append a row to the table ``file`` for each of the conditions ``when``.

    Rows that the same study wrote before are removed, and all others stay as they are. The new ones are the last, so
    they win against those of other studies.

    Args:
        file: ``<folder>/table/<method>.yaml``; made if there is none.
        study: names the rows, in a comment before each.
        why: their reason.
        when: the conditions of each.
        settings: such as ``method.optimizer.lr=0.1``.

    Raises ``UserError`` for a file that is not a table, or that cannot be written.
    """
    with explained(file, "out"):
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_name(f".{file.name}.lock")):
            rows_of(file)  # raises for what is not a table
            before = file.read_text() if file.exists() else HEAD.format(file.stem)
            mark = f"# study {study}\n"
            own = re.compile(re.escape(mark) + r"- .*\n(?:[ \t].*\n|\n)*")  # up to the next line that is not indented
            rows = "".join(mark + as_text(why, one, settings) for one in when)
            write_atomic(file, (own.sub("", before.rstrip("\n") + "\n") + rows).encode(), "out")
    rows_of(file)


def as_text(why: str, when: Mapping[str, str | list[str]], settings: Sequence[str]) -> str:
    """A row as YAML."""
    values = nested(setting.removeprefix(METHOD) for setting in settings)
    row = [{"why": why, "when": dict(when), "set": values}]
    return str(yaml.safe_dump(row, sort_keys=False, width=110, allow_unicode=True))
