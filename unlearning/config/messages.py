"""Error messages for configurations that do not compose. Errors are told apart by their types and attributes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import InterpolationResolutionError, MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from ..errors import UserError, nearest
from .groups import GROUPS, NODES
from .guide import choices

COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, YAMLError)
STACKED = "addon"  # the group that takes a list of choices


def explained(error: BaseException, settings: Sequence[str] = (), keys: Iterable[str] = ()) -> UserError:
    """An error of composition as one line: what is wrong, and the nearest choice that would work.

    Args:
        error: what Hydra or OmegaConf raised; a ``UserError`` is returned as it is.
        settings: the overrides that were composed.
        keys: those that exist under the chosen groups.
    """
    if isinstance(error, UserError):
        return error
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return no_choice(error.missing_cfg_file, error.options or ())
    if isinstance(error, OverrideParseException):
        return unreadable(str(error.override))
    if isinstance(error, YAMLError):
        return UserError(f"a configuration file is not YAML: {' '.join(str(error).split())}", kind="file")
    causes = [cause for cause in chain_of(error) if isinstance(cause, OmegaConfBaseException)]
    if missing := next((cause for cause in causes if isinstance(cause, MissingMandatoryValue)), None):
        key = missing.full_key or ""
        return UserError(f"{key or 'a value'} must be given", key=key, kind="missing")
    if unknown := next((cause for cause in causes if isinstance(cause, AttributeError | KeyError)), None):
        key = str(unknown.full_key or unknown.key)
        return UserError(no_key(key, keys or GROUPS), key=key, kind="key")
    if causes:
        return wrong_value(next((cause for cause in causes if cause.full_key), causes[0]))
    return misplaced(settings, keys) or UserError(first_line(error))


def check_settings(settings: Iterable[str]) -> None:
    """Raise a ``UserError`` for a setting that Hydra rejects without saying what is wrong.

    These are settings without a key, and groups that are deleted or set to something other than names. A group may be
    set to a dict, which changes several of its keys.
    """
    for override in parsed(settings):
        group, line = override.key_or_group, str(override.input_line)
        if not group:
            raise unreadable(line)
        if group not in GROUPS and "/" not in group and override.package is None:
            continue
        if override.is_delete():
            if group in NODES and group != STACKED:
                raise UserError(f"{line}: {group} must be given", key=group, kind="missing")
            continue
        for names in alternatives(override):
            stacked = isinstance(names, list) and group == STACKED
            if not all(isinstance(name, str | dict) for name in (names if stacked else [names])):
                raise UserError(
                    f"{line}: a group takes the name of a choice, and addon a list of names; to disable add-ons or "
                    "tracking, use addon=[] or tracking=none",
                    key=group,
                    kind="choice",
                )
            if path := next((name for name in (names if stacked else [names]) if leaves_its_folder(name)), None):
                raise UserError(
                    f"{line}: {path} is no name of a choice: name a file of conf/{group}, without its folder and its "
                    "ending; files of your own are found by --config-dir",
                    key=group,
                    kind="choice",
                )


def leaves_its_folder(name: Any) -> bool:
    """Whether a choice would name a file outside the folder of its group."""
    return isinstance(name, str) and (name.startswith("/") or bool({".", ".."} & {*name.split("/")}))


def parsed(settings: Iterable[str]) -> Iterator[Override]:
    """The settings that Hydra can parse; Hydra reports the others."""
    parser = OverridesParser.create()
    for setting in settings:
        try:
            yield parser.parse_override(setting)
        except HydraException:
            continue


def alternatives(override: Override) -> list[Any]:
    """The values of a setting: one unless it is swept, and an empty list if a sweep does not list them."""
    value = override.value()
    if override.is_choice_sweep() and isinstance(value, ChoiceSweep):
        return [plain(one) for one in value.list]
    return [] if override.is_sweep_override() else [plain(value)]


def plain(value: Any) -> Any:
    """A value, with Hydra's quoted strings unwrapped."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    return getattr(value, "text", value)  # of Hydra's QuotedString


def no_choice(file: str, known: Iterable[str]) -> UserError:
    """The error for a choice that does not exist; ``known`` are those that do, if Hydra lists them."""
    group, _, name = file.rpartition("/")
    advice = nearest(name, list(known) or choices(group))
    return UserError(f"there is no {group or 'config'} named {name!r}: {advice}", key=group, kind="choice")


def unreadable(setting: str) -> UserError:
    """The error for an argument that is not a setting, or whose value Hydra's grammar does not accept."""
    key, equals, _ = setting.partition("=")
    if not key.strip("+~") or not equals:
        return UserError(f"{setting!r} is not a setting; write KEY=VALUE, for example method=ssd", kind="key")
    return UserError(
        f"{setting} cannot be read: quote the value, as in {key}='\"VALUE\"', or write $HOME for ~", key=key
    )


def wrong_value(error: OmegaConfBaseException) -> UserError:
    """The error for a value that does not fit its key, or that refers to something that does not exist."""
    key, text = str(error.full_key or ""), first_line(error)
    if isinstance(error, InterpolationResolutionError):
        unset = next((cause for cause in chain_of(error) if isinstance(cause, KeyError)), None)
        if unset is not None:  # such as an environment variable, in the words of the resolver
            return UserError(f"{key}: {unset.args[0]}", key=key, kind="missing")
    return UserError(f"{key}: {text}" if key not in text else text, key=key)


def misplaced(settings: Sequence[str], keys: Iterable[str]) -> UserError | None:
    """The error for a setting with the wrong sign before its key, or with several values outside of a sweep."""
    known = set(keys)
    for override in parsed(settings):
        key, line = override.key_or_group, str(override.input_line)
        if override.is_add() and not override.is_force_add() and key in known:
            return UserError(f"{line}: {key} exists, so write {line.lstrip('+')}", key=key, kind="key")
        if override.is_delete() and key not in known:
            return UserError(no_key(key, known), key=key, kind="key")
        if override.is_sweep_override():
            return UserError(f"{line} has several values: add -m for a sweep, or write a list", key=key)
    return None


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
