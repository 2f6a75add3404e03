"""Find a module's source and what it imports without importing anything."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from ..errors import UserError
from .prose import without_prose

PACKAGE = __package__.partition(".")[0]
INSTALLED = {"site-packages", "dist-packages"}  # the folders of libraries, whose versions count instead of their code


@dataclass(frozen=True)
class Module:
    """A module of this package or of the user's."""

    name: str
    file: Path
    source: bytes
    code: ast.Module  # without comments, layout and prose; see ``prose``

    @functools.cached_property
    def tree(self) -> ast.Module:
        """The code with its docstrings and all other prose."""
        return ast.parse(self.source)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the code."""
        return hashlib.sha256(ast.dump(self.code).encode()).hexdigest()

    @property
    def is_package(self) -> bool:
        """Whether it is the ``__init__`` of a package, which has that package's name."""
        return self.file.name == "__init__.py"

    @functools.cached_property
    def imports(self) -> list[str]:
        """The dotted names that the code imports, of which the last part may be a module or something in one."""
        package = self.name if self.is_package else self.name.rpartition(".")[0]
        found: list[str] = []
        for node in ast.walk(self.code):
            if isinstance(node, ast.Import):
                found += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                with suppress(ImportError):  # a relative import beyond the package; the build reports it
                    source = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
                    found += [source, *(f"{source}.{alias.name}" for alias in node.names)]  # ``from . import build``
        return found


@functools.cache
def module_spec(name: str) -> ModuleSpec | None:
    """Where a module of this package or of the user's lies; None for libraries and for what is not a module."""
    package, _, _ = name.rpartition(".")
    if package:
        inside = module_spec(package)
        return PathFinder.find_spec(name, list(inside.submodule_search_locations or ())) if inside else None
    try:
        spec = None if name in sys.stdlib_module_names else importlib.util.find_spec(name)
    except ValueError:  # such as ``__main__``, which the build refuses with a message of its own
        return None
    if spec is None or name == PACKAGE:
        return spec
    places = [spec.origin, *(spec.submodule_search_locations or ())]
    return None if any(set(Path(place).parts) & INSTALLED for place in places if place) else spec


@functools.cache  # a module that many others import is read once
def read_module(name: str) -> Module | None:
    """The module of that name, parsed; None for a library's and for what is not a module.

    Raises ``UserError`` for a file that is not Python.
    """
    spec = module_spec(name)
    if spec is None or not str(spec.origin).endswith(".py"):
        return None
    file = Path(str(spec.origin))
    source = file.read_bytes()
    try:
        return Module(name, file, source, without_prose(ast.parse(source)))
    except SyntaxError as error:
        raise UserError(f"{file}, line {error.lineno}: {error.msg}", kind="file") from None


def closure(targets: Iterable[str], outside: Iterable[str] = ()) -> dict[str, Module]:
    """The modules of these targets (``package.module.Name``) and all that they import, to any depth, by name.

    ``outside`` names modules and packages that are left out, with what only they import.
    """
    found: dict[str, Module] = {}
    seen: set[str] = set()
    pending = [target.rpartition(".")[0] for target in targets]
    left_out = tuple(outside)
    while pending:
        name = pending.pop()
        if not name or name in seen or any(name == module or name.startswith(f"{module}.") for module in left_out):
            continue
        seen.add(name)
        pending.append(name.rpartition(".")[0])  # a package, whose __init__ runs first, or the module of a class
        if module := read_module(name):
            found[name] = module
            pending += module.imports
    return found
