"""The arguments of the command line, in any order: flags, and settings such as ``method=ssd``. Imports no Hydra."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from ..errors import UserError

SWITCHES = ("--multirun", "--resolve", "--hydra-help", "--shell-completion")  # Hydra's flags without a value
SHOWN = {
    "cfg": ("job", "hydra", "all"),
    "info": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
}


class Arguments(NamedTuple):
    """A command line, taken apart."""

    settings: list[str]  # Hydra's overrides
    flags: list[str]  # Hydra's flags, each followed by its value
    sweep: bool
    explain: bool
    folder: Path | None  # of the user's own configuration

    @property
    def search(self) -> list[str]:
        """The override that stands for ``folder`` where Hydra takes no flags."""
        return [f"hydra.searchpath=['file://{self.folder.absolute()}']"] if self.folder else []


def read(words: Sequence[str]) -> Arguments:
    """Take a command line apart.

    Raises ``UserError`` for a flag that does not exist, or that lacks its value or its folder.
    """
    found = parser().parse_intermixed_args(list(words))
    given = vars(found)
    flags = [switch for switch in SWITCHES if given[switch.strip("-").replace("-", "_")]]
    for name in ("cfg", "package", "info", "config_dir"):
        if given[name] is not None:
            flags += [f"--{name.replace('_', '-')}", given[name]]
    folder = None if found.config_dir is None else Path(found.config_dir)
    if folder is not None and not folder.is_dir():
        raise UserError(f"--config-dir: there is no folder {folder}", kind="file")
    settings = [*found.settings, *(["verbose=true"] if found.verbose else [])]
    return Arguments(settings, flags, found.multirun, found.explain, folder)


class Parser(argparse.ArgumentParser):
    """An ``ArgumentParser`` that raises ``UserError`` instead of exiting."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; --help lists the options", kind="key")


def parser() -> Parser:
    """The flags of this program and those of Hydra that it passes on."""
    found = Parser(add_help=False, allow_abbrev=False)
    found.add_argument("settings", nargs="*")
    found.add_argument("--explain", action="store_true")
    found.add_argument("--verbose", "-v", action="store_true")
    for switch, short in zip(SWITCHES, ("-m", "--resolve", "--hydra-help", "-sc"), strict=True):
        found.add_argument(*dict.fromkeys((switch, short)), action="store_true")
    found.add_argument("--cfg", "-c", choices=SHOWN["cfg"])
    found.add_argument("--info", "-i", choices=SHOWN["info"], nargs="?", const="all")
    found.add_argument("--package", "-p")
    found.add_argument("--config-dir", "-cd")
    return found
