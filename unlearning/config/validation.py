"""Check a node of the configuration against the signature of what it names, before anything is built.

Bounds stand in the signatures as ``Annotated`` types (see ``types``), so a wrong key, type or value is one clear line.
"""

from __future__ import annotations

import inspect
import pkgutil
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError

from ..errors import UserError, nearest

Node = Mapping[str, Any]
ANY_TYPE = ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Parameter:
    """An argument that a class or function takes."""

    hint: Any
    default: Any  # ``inspect.Parameter.empty`` where it must be given

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty


def target_of(node: Any, where: str) -> Callable[..., Any]:
    """The object that a node's ``_target_`` names. Raises ``UserError`` if it is missing or cannot be imported."""
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise UserError(
            f"{where}={node} has no _target_: name the class or function that it builds, or leave it out", key=where
        )
    try:
        return pkgutil.resolve_name(node["_target_"])
    except Exception as error:  # an import may fail in any way; the reason is shown
        message = f"{where}._target_={node['_target_']} cannot be imported: {error}"
        raise UserError(message, key=f"{where}._target_") from None


def check(node: Node, where: str, given: Mapping[str, Any]) -> None:
    """Raise a ``UserError`` for the first key or value of a node that its ``_target_`` does not take.

    ``where`` is the node's key, such as ``method``; ``given`` holds the arguments that the program supplies.
    """
    accepted, open_ended = parameters(target_of(node, where))
    for key, value in node.items():
        if key.startswith("_") and key.endswith("_"):
            continue
        here = f"{where}.{key}"
        if key in given:
            raise UserError(f"{here} is set by the program and cannot be overridden; remove it", key=here, kind="key")
        if key not in accepted and not open_ended:
            own = [name for name in accepted if name not in ("self", *given)]
            raise UserError(
                f"{here}: {node['_target_']} has no option {key!r}: {nearest(key, own)}", key=here, kind="key"
            )
        if isinstance(value, Mapping) and "_target_" in value:
            check(value, here, {})
        elif key in accepted:
            check_value(value, accepted[key], here)
    if node.get("_partial_"):
        return
    for key, parameter in accepted.items():
        if parameter.required and key not in node and key not in given:
            raise UserError(f"{where}.{key} must be given", key=f"{where}.{key}", kind="missing")


def parameters(target: Callable[..., Any]) -> tuple[dict[str, Parameter], bool]:
    """The arguments of a class or function, through ``**options`` up to its bases, and whether it accepts any other."""
    found: dict[str, Parameter] = {}
    open_ended = False
    bases = target.__mro__ if inspect.isclass(target) else (target,)
    for base in bases:
        function: Any = vars(base).get("__init__") if inspect.isclass(base) else base
        if function is None or base is object:
            continue
        try:
            hints = typing.get_type_hints(function, include_extras=True)
        except (NameError, TypeError):  # a hint that only a type checker can resolve
            hints = {}
        signature = inspect.signature(function).parameters
        for name, parameter in signature.items():
            if name != "self" and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                found.setdefault(name, Parameter(hints.get(name, Any), parameter.default))
        open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.values())
        if not open_ended:
            break
    return found, open_ended


def check_value(value: Any, expected: Parameter, where: str) -> None:
    """Raise a ``UserError`` unless a value fits the hint of a parameter, or without a usable hint its default."""
    try:
        adapter: TypeAdapter[Any] | None = TypeAdapter(expected.hint, config=ANY_TYPE)
    except (PydanticSchemaGenerationError, PydanticUserError):
        adapter = None
    wrong = None
    if adapter is not None:
        try:
            adapter.validate_python(value, strict=isinstance(value, float | int | str))
        except ValidationError as error:
            text = error.errors()[0]["msg"]
            wrong = text[:1].lower() + text[1:]
    elif isinstance(value, str) and isinstance(expected.default, int | float):
        wrong = f"input should be like its default, {expected.default}"
    if isinstance(value, bool) and plain_type(expected.hint) in (int, float):
        wrong = f"input should be a valid {plain_type(expected.hint).__name__}"
    if wrong:
        if "Sequence" in str(expected.hint) and not isinstance(value, list | tuple):
            wrong = f"input should be a list: write [{value}]"
        raise UserError(f"{where}={value}: {wrong}", key=where)


def plain_type(hint: Any) -> Any:
    """A hint without the bounds of ``Annotated``."""
    return typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint
