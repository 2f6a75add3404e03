"""Hydra's own entry point, called with arguments, and with errors that are raised instead of printed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import hydra
from omegaconf import DictConfig

from .arguments import Arguments
from .compose import keys_near
from .messages import COMPOSITION_ERRORS, check_settings, explained
from .paths import CONF
from .schema import register

T = TypeVar("T")


def launched(task: Callable[[DictConfig], None], arguments: Arguments, root: Path | None) -> None:
    """Let Hydra compose, and call ``task`` for each job.

    Raises ``UserError`` for arguments that do not compose.
    """
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # hands errors to the caller instead of printing them
    register(root)
    check_settings(arguments.settings)
    with command_line([*arguments.flags, *arguments.settings]):  # Hydra wants flags before settings
        try:
            hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(task)()
        except COMPOSITION_ERRORS as error:
            settings = [] if arguments.sweep else arguments.settings  # what is wrong with one of many jobs is not known
            raise explained(error, settings, keys_near([*arguments.settings, *arguments.search])) from None


def asked(question: Callable[[DictConfig], T], arguments: Arguments, root: Path | None) -> list[T]:
    """Compose one run and return ``[question(config)]``; the list is empty for flags such as ``--cfg``.

    An error of the question is raised outside of Hydra's job, which would print the arguments on the screen.
    """
    answers: list[T] = []
    errors: list[Exception] = []

    def task(composed: DictConfig) -> None:
        try:
            answers.append(question(composed))
        except Exception as error:
            errors.append(error)

    launched(task, arguments, root)
    for error in errors:
        raise explained(error) if isinstance(error, COMPOSITION_ERRORS) else error
    return answers


@contextmanager
def command_line(words: Sequence[str]) -> Iterator[None]:
    """Context manager in which the process's arguments are ``words``, since Hydra reads them there."""
    before = sys.argv
    sys.argv = [before[0], *words]
    try:
        yield
    finally:
        sys.argv = before
