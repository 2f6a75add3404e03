"""The composed configuration: its types, the key of a run, and what to say when composing fails. Imports no torch."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import (
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from .digests import content_digest, file_digest
from .errors import UserError, nearest

ROOT = Path(__file__).resolve().parents[1]
TRACKED = "TRACKED"  # in the folder of a run: where it has been logged, a line each
GROUPS = ("model", "dataset", "scenario", "pretrain", "method", "addon", "evaluation", "trainer", "tracking")
DECIDES = ("model", "dataset", "scenario", "pretrain", "method", "addon", "evaluation", "seed", "split", "retrained")
OPTIONAL = {"kronfluence"}  # libraries that decide numbers where they are installed and used
INSTALLED = {"site-packages", "dist-packages"}  # the folders of libraries
PLACEMENT = ("_target_", "accelerator", "strategy", "devices", "num_nodes")


@dataclass
class Split:
    """``split.*``: how validation (and, without an official one, test) samples are held out, as shares."""

    seed: int = MISSING
    validation: float = MISSING
    test: float = MISSING


@dataclass
class Paths:
    """``paths.*``: where things are."""

    root: str = MISSING
    data: str = MISSING
    store: str = MISSING
    runs: str = MISSING


@dataclass
class Schema:
    """The types of the top-level keys; the groups are checked against the signatures of what they build."""

    seed: int = MISSING
    retrained: bool = MISSING
    force: bool = MISSING
    split: Split = MISSING
    paths: Paths = MISSING
    model: Any = MISSING
    dataset: Any = MISSING
    scenario: Any = MISSING
    pretrain: Any = MISSING
    method: Any = MISSING
    addon: Any = None
    evaluation: Any = MISSING
    trainer: Any = MISSING
    tracking: Any = MISSING


def register() -> None:
    """Make the schema known to Hydra, and the resolvers ``${project_root:}`` and ``${if_equal:a,b,yes,no}``."""
    ConfigStore.instance().store("schema", Schema)
    OmegaConf.register_new_resolver("project_root", lambda: str(ROOT), replace=True)
    OmegaConf.register_new_resolver("if_equal", lambda a, b, yes, no: yes if a == b else no, replace=True)


def plain(config: Any) -> dict[str, Any]:
    """The composed configuration as plain dicts and lists, interpolations resolved, paths absolute."""
    found = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    known = {name: found[name] for name in Schema.__dataclass_fields__}
    if unknown := sorted(found.keys() - known.keys()):
        raise UserError(no_key(unknown[0], known_keys(known)))
    found["addon"] = found["addon"] or {}
    seeds = {"seed": found["seed"]} | {
        f"{part}.seed": found[part]["seed"] for part in ("split", "scenario", "pretrain")
    }
    for name, seed in seeds.items():
        if not isinstance(seed, int) or not 0 <= seed < 2**31:
            raise UserError(f"{name}={seed} must be a whole number from 0 to {2**31 - 1}")
    found["paths"] = {name: os.path.abspath(os.path.expanduser(p)) for name, p in found["paths"].items()}
    return found


# The name and the key of a run


def label(choices: Mapping[str, str]) -> str:
    """The method and its add-ons, as they are called in tables: ``neggrad_plus+focus+l1``."""
    return "+".join([choices["method"], *addon_names(choices)])


def addon_names(choices: Mapping[str, str]) -> list[str]:
    """The add-ons of a choice such as ``[saliency,l1]``."""
    return [name.strip(" '") for name in choices.get("addon", "").strip("[]").split(",") if name.strip(" '")]


def check_choices(arguments: Iterable[str]) -> None:
    """Raise ``UserError`` for a group that is set to null or a number, at which Hydra would fail without advice."""
    unnamed = re.compile(rf"\+*({'|'.join(GROUPS)}|experiment)=(.*[,\[])? *(null|true|false|[\d.]+) *([,\]].*)?", re.I)
    for argument in arguments:
        if unnamed.fullmatch(argument):
            raise UserError(
                f"{argument}: a group takes the names of its choices, as python run.py --help lists them; "
                "for none write addon=[] or tracking=none"
            )


def check_addons(overrides: Iterable[str]) -> None:
    """Raise ``UserError`` for an add-on that is named twice: Hydra would merge the two into one without a word."""
    for override in overrides:
        key, _, value = override.partition("=")
        names = addon_names({"addon": value}) if key == "addon" else []
        if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
            raise UserError(f"{override} names {twice[0]} twice, and an add-on acts once: name each once")


def folder_name(config: Mapping[str, Any], choices: Mapping[str, str], key: str) -> str:
    """A readable name that is unique for a run key."""
    return f"{choices['dataset']}-{choices['scenario']}-{label(choices)}-s{config['seed']}-{key[:12]}"


def run_key(config: Mapping[str, Any]) -> str:
    """SHA-256 over what decides the result: the settings, the content of the user's files and the code they name.

    Where things are, the device and the tracking server are left out; the libraries' versions are in.
    """
    decides = {name: config[name] for name in DECIDES} | {"trainer": numerics(config)}
    decides["dataset"] = {k: v for k, v in config["dataset"].items() if k not in ("root", "cache")}
    root = config["dataset"].get("root")
    if root and Path(root).expanduser() != Path(config["paths"]["data"]):  # data of the user's own
        decides["dataset"]["content"] = content_digest(Path(root).expanduser())
    if file := config["scenario"].get("file"):
        decides["scenario"] = config["scenario"] | {"file": file_digest(Path(file).expanduser())}
    if checkpoint := config["pretrain"]["checkpoint"]:
        decides["pretrain"] = config["pretrain"] | {"checkpoint": file_digest(Path(checkpoint).expanduser())}
    code = {target: source_digest(target) for target in sorted({*targets(decides), "unlearning.pipeline.run"})}
    return hashlib.sha256(json.dumps([decides, code, libraries()], sort_keys=True).encode()).hexdigest()


def is_finished(folder: Path) -> bool:
    """Whether a run's folder says that it is done, and its results can be read."""
    try:
        return (folder / "DONE").exists() and bool(json.loads((folder / "results.json").read_text()))
    except (OSError, ValueError):
        return False


def is_tracked(folder: Path, config: Mapping[str, Any]) -> bool:
    """Whether a finished run has been logged where the configuration says; to log nowhere is done at once."""
    where, log = destination(config), folder / TRACKED
    return not where or (log.exists() and where in log.read_text().split())


@functools.cache
def libraries() -> dict[str, str]:
    """The versions of the libraries that decide numbers."""
    return {name: version(name) for name in ("torch", "torchvision", "timm", "lightning", "scikit-learn")}


def destination(config: Mapping[str, Any]) -> str:
    """A digest of where MLflow runs go (a URI may hold a password); empty where nothing is tracked."""
    where = [config["tracking"].get(name) for name in ("uri", "experiment")]
    return hashlib.sha256(json.dumps(where).encode()).hexdigest()[:16] if any(where) else ""


def numerics(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of the trainer decides results, such as its precision; not where it runs."""
    return {name: value for name, value in config["trainer"].items() if name not in PLACEMENT}


def targets(node: Any) -> Iterator[str]:
    """Every ``_target_`` below a node."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield node["_target_"]
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from targets(child)


def source_digest(target: str) -> str:
    """SHA-256 of the code that a ``_target_`` depends on, with the versions of the optional libraries that it imports.

    Comments and layout do not count.
    """
    files = source_files(target).values()
    imported = {name.partition(".")[0] for code in files for name in code.imports}
    digests = [code.digest for code in files]
    for name in imported & OPTIONAL:
        with suppress(PackageNotFoundError):  # what needs it is refused then, by who needs it
            digests.append(version(name))
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def source_files(target: str) -> dict[Path, Code]:
    """The module of a ``_target_`` and all that it imports, to any depth; of libraries the versions count instead."""
    found, seen, pending = {}, set(), [target.rpartition(".")[0]]
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        if code := code_of(name):
            found[code.file] = code
            pending += [*code.imports, name.rpartition(".")[0]]  # a package's __init__ runs before what is in it
    return found


@dataclass(frozen=True)
class Code:
    """A module: its file, the digest of its statements, and what it imports."""

    file: Path
    digest: str
    imports: tuple[str, ...]


@functools.cache  # each file is read once, however many targets lead to it
def code_of(module: str) -> Code | None:
    """What a module is made of; None for a library's and for what is no module."""
    spec = module_spec(module)
    if spec is None or not str(spec.origin).endswith(".py"):
        return None
    try:
        tree = ast.parse(Path(spec.origin).read_text())
    except SyntaxError as error:
        raise UserError(f"{spec.origin}, line {error.lineno}: {error.msg}") from None
    imports = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            with suppress(ImportError):  # an import from above the top, which is for ``build`` to complain about
                source = importlib.util.resolve_name("." * node.level + (node.module or ""), spec.parent)
                imports += [source, *(f"{source}.{alias.name}" for alias in node.names)]  # ``from . import build``
    return Code(Path(spec.origin), hashlib.sha256(ast.dump(tree).encode()).hexdigest(), tuple(imports))


@functools.cache
def module_spec(name: str) -> ModuleSpec | None:
    """Where a module of ours or of the user's is, found without importing anything; None for all others."""
    package, _, _ = name.rpartition(".")
    if package:
        inside = module_spec(package)
        return PathFinder.find_spec(name, inside.submodule_search_locations or ()) if inside else None
    try:
        spec = None if name in sys.stdlib_module_names else importlib.util.find_spec(name)
    except ValueError:  # such as ``__main__``; it is for ``build`` to complain about
        return None
    places = [spec.origin, *(spec.submodule_search_locations or ())] if spec else []
    return None if any(set(Path(place).parts) & INSTALLED for place in places if place) else spec


# What to say when composing fails


def explain(error: BaseException, keys: list[str] | None = None) -> str:
    """One line for an error of composition: what was wrong, and the nearest that would be right."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        return f"there is no {group or 'config'} named {name!r}: {nearest(name, error.options or [])}"
    text = "\n".join(map(str, chain_of(error)))
    if match := re.search(r"Could not override '([^']+)'", text):
        return no_key(match[1].split("@")[0], keys or GROUPS)
    if "Missing mandatory value" in text or isinstance(error, MissingMandatoryValue):
        key = re.search(r"full_key: (\S+)", text) or re.search(r"value: (\S+)", text)
        return f"{key[1] if key else 'a value'} must be given"
    if isinstance(error, OverrideParseException):
        if "=" not in str(error.override):
            return f"{error.override!r} is no setting: write KEY=VALUE, such as method=ssd"
        return f"{error.override} cannot be read: quote the value, as in KEY='\"VALUE\"', or write $HOME for ~"
    if isinstance(error, InterpolationResolutionError) and (match := re.search(r"Environment variable '(\w+)'", text)):
        return f"the environment variable {match[1]} is not set"
    where = re.search(r"full_key: (\S+)", text)
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("Error merging override")]
    first = lines[0] if lines else type(error).__name__
    if not isinstance(error, COMPOSITION_ERRORS):
        return f"{type(error).__name__}: {first}"
    return f"{where[1]}: {first}" if where and where[1] not in first else first


def no_key(key: str, keys: Iterable[str]) -> str:
    """That there is no such key, and the nearest of those that there are."""
    alike = [known for known in keys if known.rpartition(".")[2] == key.rpartition(".")[2]]
    if alike:
        return f"there is no key {key!r}: did you mean {', '.join(alike)}?"
    hint = f" (if its class takes it and only the YAML does not name it: +{key}=...)" if "." in key else ""
    return f"there is no key {key!r}: {nearest(key, keys)}{hint}"


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """An error and the errors that caused it."""
    while error is not None:
        yield error
        error = error.__cause__


def known_keys(node: Any, prefix: str = "") -> list[str]:
    """Every key of a configuration, dotted."""
    if not isinstance(node, Mapping):
        return []
    keys = [f"{prefix}{key}" for key in node]
    return keys + [k for key, child in node.items() for k in known_keys(child, f"{prefix}{key}.")]


COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException)
