"""One run as a value: the request, and everything that follows from it without computing. Imports no torch."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from .config.groups import GROUPS, NODES, addon_names, label
from .engine.key import Key, key_of, numerics
from .errors import UserError
from .records.names import EARLIER, SPLIT, SUMMARY, WEIGHTS

DECIDES = (*(name for name in NODES if GROUPS[name].decides), "seed", "split", "retrained", "trial", "after")
RUN = f"{__package__}.pipeline.run"  # where the code of every run begins


@dataclass(frozen=True)
class Request:
    """A run that is wanted.

    Args:
        config: the resolved configuration, plain dicts and lists (see ``config.schema.plain``).
        choices: the choice in each group.
        overrides: the settings of the command line.
        sweep: names the sweep that the run belongs to.
        rows: the rows of the settings' tables that applied (see ``config.tables``).
    """

    config: Mapping[str, Any]
    choices: Mapping[str, str]
    overrides: Sequence[str] = ()
    sweep: str | None = None
    rows: Sequence[Mapping[str, Any]] = field(default_factory=list)

    @property
    def command(self) -> str:
        """The command line that makes the run, wherever its files are."""
        return command_line(self.overrides)

    @property
    def label(self) -> str:
        """The method and its add-ons as tables name them."""
        return label(dict(self.choices))

    @property
    def verbose(self) -> bool:
        """Whether the log is shown on the screen."""
        return bool(self.config["verbose"])

    @property
    def figures(self) -> list[str]:
        """The figures that are asked for; a run that is no job of a sweep always has its summary."""
        asked = list(self.config["figures"])
        return asked if self.sweep else list(dict.fromkeys([SUMMARY, *asked]))

    @property
    def claim(self) -> str | bool | None:
        """The accuracy that the user says the own model has, true where it is just asked for, and None elsewhere.

        It is in the user's own digits: those of ``0.930`` are three.
        """
        found = self.config["check"]
        if found is None or found is True:
            return found
        written = [
            value for name, _, value in (o.lstrip("+").partition("=") for o in self.overrides) if name == "check"
        ]
        return written[-1] if written else str(found)

    @property
    def profile(self) -> bool:
        """Whether the run is profiled."""
        return bool(self.config["profile"])

    @cached_property
    def key(self) -> Key:
        """Everything that decides the result: settings, contents of the files they name, code, libraries.

        The locations of files, the device and the tracking server are left out.
        """
        config = self.config
        settings = {name: config[name] for name in DECIDES} | {"trainer": numerics(config["trainer"])}
        settings["pretrain"] = {name: value for name, value in config["pretrain"].items() if name != "resume"}
        if str(config["dataset"].get("_target_")).startswith(f"{__package__}."):
            settings["dataset"] = self.own_data()
        if config["after"] is not None:
            folder = Path(config["after"])
            left = {name: str(folder / name) for name in (EARLIER, SPLIT, WEIGHTS) if (folder / name).exists()}
            settings["after"] = left or str(folder)
        return key_of(settings, [RUN])

    def own_data(self) -> dict[str, Any]:
        """The settings of one of this package's data sets, without the places where files are kept.

        These are the cache of decoded images, and the folder of a library's data, which are known by their name.
        """
        node = {name: value for name, value in self.config["dataset"].items() if name != "cache"}
        root = node.get("root")
        if isinstance(root, str) and root and Path(root).expanduser() == Path(self.config["paths"]["data"]):
            del node["root"]
        return node

    @property
    def folder(self) -> Path:
        """The run's folder: a readable name that is unique for its key."""
        choices, trial = self.choices, "trial-" if self.config["trial"] is not None else ""
        name = f"{trial}{choices['dataset']}-{choices['scenario']}-{self.label}-s{self.config['seed']}"
        return Path(self.config["paths"]["runs"]) / f"{name}-{self.key.digest[:12]}"

    def check(self) -> None:
        """Raise ``UserError`` for an add-on that is named twice: Hydra would merge the two without a word."""
        for override in self.overrides:
            key, _, value = override.partition("=")
            names = addon_names(value) if key == "addon" else []
            if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
                raise UserError(
                    f"{override} names {twice[0]} twice, and an add-on acts once: name each once", key="addon"
                )


def command_line(overrides: Sequence[str], *flags: str) -> str:
    """The command line of some settings, without those that do not decide a result."""
    return shlex.join(["python", "run.py", *flags, *deciding(overrides)])


def deciding(overrides: Sequence[str]) -> list[str]:
    """The settings of a command line without those that never decide a result."""
    return [o for o in overrides if not o.lstrip("+~").startswith(("force=", "verbose=", "paths.", "tracking"))]


def in_first_process() -> bool:
    """Whether this process is the one that writes to the screen."""
    return os.environ.get("RANK", "0") == "0"
