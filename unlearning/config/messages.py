"""What to say when a configuration does not compose. Errors are told apart by their types and attributes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from ..errors import UserError, nearest
from .groups import GROUPS

COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException)


def explained(error: BaseException, keys: Iterable[str] = ()) -> UserError:
    """An error of composition as one line: what is wrong, and the nearest choice that would work.

    ``keys`` are those that exist under the chosen groups.
    """
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        known = error.options or []
        return UserError(f"there is no {group or 'config'} named {name!r}: {nearest(name, known)}", key=group, kind="choice")
    if isinstance(error, OverrideParseException):
        return unreadable(str(error.override))
    causes = [cause for cause in chain_of(error) if isinstance(cause, OmegaConfBaseException)]
    if missing := next((cause for cause in causes if isinstance(cause, MissingMandatoryValue)), None):
        key = missing.full_key or "a value"
        return UserError(f"{key} must be given", key=missing.full_key or "", kind="missing")
    if unknown := next((cause for cause in causes if isinstance(cause, AttributeError | KeyError)), None):
        key = str(unknown.full_key or unknown.key)
        return UserError(no_key(key, keys or GROUPS), key=key, kind="key")
    where = next((cause.full_key for cause in causes if cause.full_key), "")
    text = first_line(causes[-1] if causes else error)
    return UserError(f"{where}: {text}" if where and where not in text else text, key=where or "")


def unreadable(override: str) -> UserError:
    """An argument that is not a setting, or whose value Hydra's grammar does not take."""
    if "=" not in override:
        return UserError(f"{override!r} is not a setting; write KEY=VALUE, for example method=ssd", kind="key")
    key = override.partition("=")[0]
    return UserError(
        f"{override} cannot be read: quote the value, as in {key}='\"VALUE\"', or write $HOME for ~", key=key
    )


def no_key(key: str, keys: Iterable[str]) -> str:
    """Message for an unknown key, with the closest existing keys."""
    known = list(keys)
    alike = [other for other in known if other.rpartition(".")[2] == key.rpartition(".")[2]]
    if alike:
        return f"there is no key {key!r}: did you mean {', '.join(alike)}?"
    return f"there is no key {key!r}: {nearest(key, known)}"


def first_line(error: Any) -> str:
    """The first line of an error's message, or the name of its type."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """An error and the errors that caused it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
