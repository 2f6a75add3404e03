"""The parts that decide a result, each with a label: settings, contents of files, code, libraries. Imports no torch."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..config.imports import PACKAGE, Module, closure
from ..runtime.digests import content_digest

LIBRARIES = ("torch", "torchvision", "timm", "lightning", "torchmetrics", "scikit-learn", "numpy", "pandas", "pillow")
OPTIONAL = ("kronfluence", "transformers")  # libraries that decide numbers where they are installed and imported
PLACEMENT = ("_target_", "accelerator", "strategy", "devices", "num_nodes")  # of the trainer: where it runs
GPUS = ("gpu", "cuda", "mps")  # accelerators on which the number of threads decides nothing
FOLDERS = ("root", "folder", "dir", "directory", "path")  # keys under which a bare word may name a folder
FILE = "<file>"  # stands for a file in a list that holds other values too
OUTSIDE = tuple(  # these modules do not affect results
    f"{PACKAGE}.{name}"
    for name in (
        "api",
        "cli",
        "sweeps",
        "request",
        "errors",
        "config",
        "records",
        "report",
        "requests",
        "populations",
        "difficulty",
        "tune",
        "verify",
        "store",
        "engine.claim",
        "engine.key",
        "engine.store",
        "engine.unfinished",
        "models.guess",
        "runtime.children",
        "runtime.digests",
        "runtime.interrupts",
        "runtime.markdown",
        "runtime.memory",
        "runtime.processes",
        "runtime.profile",
        "runtime.program",
        "runtime.progress",
        "runtime.secrets",
        "runtime.shared_files",
        "runtime.threads",
    )
)

Parts = Mapping[str, Mapping[str, Any]]  # kind of part, then its name, to a value that JSON can hold


@dataclass(frozen=True)
class Key:
    """The parts of what decides a result: ``{"setting": {"method.alpha": 10.0}, "code": {"methods/ssd.py": ...}}``."""

    parts: Parts

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of all parts."""
        return hashlib.sha256(canonical(self.parts).encode()).hexdigest()

    def differences(self, other: Parts) -> list[str]:
        """The parts in which another key differs, such as ``setting: method.alpha`` and ``library: torch 2.15.0``."""
        found = []
        for kind in {**self.parts, **other}:
            own, theirs = self.parts.get(kind, {}), other.get(kind, {})
            for name in sorted({**own, **theirs}):
                if own.get(name) != theirs.get(name):
                    value = f" {own.get(name, 'none')}" if kind == "library" else ""
                    found.append(f"{kind}: {name}{value}")
        return found


def canonical(value: object) -> str:
    """JSON that is the same for equal values: nested dicts, lists, strings, numbers, booleans and None."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def key_of(settings: Mapping[str, Any], targets: Iterable[str], **parts: Mapping[str, Any]) -> Key:
    """A key of settings, of the files that they name, of the code of ``targets``, and of any other ``parts``."""
    plain, files = with_contents(flat(settings))
    code, libraries = code_of([*targets, *targets_in(settings)])
    return Key({"setting": plain, "file": files, "code": code, "library": libraries, **parts})


def code_of(targets: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """The digests of the modules that these targets use, by file, and the versions of the libraries."""
    targets = list(targets)
    modules = closure(targets, OUTSIDE)
    modules.pop(PACKAGE, None)  # its __init__ holds the names of the Python API and the version
    found = {file_name(module): module.digest for module in modules.values()}
    return found, {**libraries(), **versions_for(targets, modules.values())}


def versions_for(targets: Iterable[str], modules: Iterable[Module]) -> dict[str, str]:
    """The versions of optional libraries that are imported, and of libraries that users name or import themselves."""
    names = {target.partition(".")[0] for target in targets}
    for module in modules:
        imported = {name.partition(".")[0] for name in module.imports}
        names |= imported.intersection(OPTIONAL) if is_ours(module.name) else imported
    found = {}
    for name in names - {PACKAGE}:
        with suppress(PackageNotFoundError):  # not a library, or one that is not installed: its user is told later
            found[name] = version(name)
    return found


def file_name(module: Module) -> str:
    """A module as readers know it: ``methods/base.py`` for one of this package, its dotted name for a user's."""
    if not is_ours(module.name):
        return module.name
    path = module.name.partition(".")[2].replace(".", "/")
    return f"{path}/__init__.py" if module.is_package else f"{path}.py"


def is_ours(module: str) -> bool:
    """Whether a module is of this package."""
    return module.partition(".")[0] == PACKAGE


@functools.cache
def libraries() -> dict[str, str]:
    """The versions of the libraries that decide numbers."""
    return {name: version(name) for name in LIBRARIES}


def numerics(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """The trainer's settings that decide results, such as its precision.

    More than one thread decides on a CPU, by the order in which sums are taken. More than one process decides, since
    each takes the statistics of BatchNorm over its own part of a batch, augments by draws of its own, and has a share
    of the samples that is padded. The device itself is left out.
    """
    found = {name: value for name, value in trainer.items() if name not in PLACEMENT}
    if trainer.get("accelerator") in GPUS or found.get("threads") == 1:
        found.pop("threads", None)
    if found.get("processes") == 1:
        del found["processes"]
    return found


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """The leaves of a nested configuration by dotted name; a list of plain values is one leaf."""
    if isinstance(node, list | tuple) and any(isinstance(item, Mapping | list | tuple) for item in node):
        node = dict(enumerate(node))
    if isinstance(node, Mapping) and node:
        return {k: v for name, child in node.items() for k, v in flat(child, f"{prefix}{name}.").items()}
    return {prefix[:-1]: node}


def with_contents(leaves: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The leaves without those that name files and folders, and the digests of what these hold.

    So a result follows the content of every file that a setting names, and not where the file lies.
    """
    settings: dict[str, Any] = {}
    files: dict[str, str] = {}
    for key, value in leaves.items():
        name = key.rpartition(".")[2]
        named = value if isinstance(value, list | tuple) else [value]
        paths = [existing(name, item) for item in named]
        if any(paths):
            files[key] = "+".join(content_digest(path) for path in paths if path)
        left = [FILE if path and not wordlike(name, item) else item for path, item in zip(paths, named, strict=True)]
        if not left or left.count(FILE) < len(left):
            settings[key] = left if isinstance(value, list | tuple) else left[0]
    return settings, files


def existing(name: str, value: Any) -> Path | None:
    """The file or folder that the setting ``name`` names, if there is one."""
    if not isinstance(value, str) or not value or "\0" in value:
        return None
    try:
        path = Path(value).expanduser()
        return path if path.is_file() or (path.is_dir() and not wordlike(name, value)) else None
    except (OSError, RuntimeError):  # too long for a name; the home of a user who does not exist
        return None


def wordlike(name: str, value: str) -> bool:
    """Whether the value of the setting ``name`` is as likely a word or a sign, such as ``digits`` or ``/``, as a path.

    Such a value does not name a folder, and decides the key itself besides the content of a file of that name.
    """
    looks_like_a_path = any(map(str.isalnum, value)) and ("/" in value or "." in value or value.startswith("~"))
    return name not in FOLDERS and not looks_like_a_path


def targets_in(node: Any) -> Iterator[str]:
    """Every ``_target_`` below a node."""
    if isinstance(node, Mapping):
        if isinstance(node.get("_target_"), str):  # the build complains about others
            yield node["_target_"]
        node = list(node.values())
    if isinstance(node, list | tuple):
        for child in node:
            yield from targets_in(child)
