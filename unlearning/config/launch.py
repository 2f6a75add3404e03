"""Hydra's own entry point, called with arguments, and with errors that are raised instead of printed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import hydra
from omegaconf import DictConfig

from .compose import keys_near
from .messages import COMPOSITION_ERRORS, explained
from .paths import CONF
from .schema import register


def launched(task: Callable[[DictConfig], None], arguments: Sequence[str], root: Path | None) -> None:
    """Let Hydra parse the arguments, compose, and call ``task`` for each job.

    Raises ``UserError`` for arguments that do not compose.
    """
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # hands errors to the caller instead of printing them
    register(root)
    with command_line(arguments):
        try:
            hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(task)()
        except COMPOSITION_ERRORS as error:
            raise explained(error, keys_near(arguments)) from None


@contextmanager
def command_line(arguments: Sequence[str]) -> Iterator[None]:
    """The process's arguments, as Hydra reads them: flags first, since it wants them before the settings."""
    before = sys.argv
    flags = [word for word in arguments if word in ("-m", "--multirun")]
    sys.argv = [before[0], *flags, *(word for word in arguments if word not in flags)]
    try:
        yield
    finally:
        sys.argv = before
