"""What the configuration offers, with the first sentence of each docstring: ``python -m unlearning.catalogue methods``.

Docstrings and the directions of metrics are read from the source, so nothing heavy is imported and a new file in
``conf/`` is listed as soon as it is there.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, resolve_name
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import UserError
from .legend import ARROWS, LEGEND

if TYPE_CHECKING:
    from rich.table import Table

CONF = Path(__file__).parents[1] / "conf"
GROUPS = {
    "methods": "method",
    "metrics": "evaluation",
    "addons": "addon",
    "scenarios": "scenario",
    "models": "model",
    "datasets": "dataset",
}


class Source(NamedTuple):
    """A definition and the module it stands in."""

    node: ast.ClassDef | ast.FunctionDef
    module: str


def find(target: str) -> Source | None:
    """The definition a ``_target_`` names, re-exports followed, nothing imported; None where the source has none."""
    parts = target.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:cut])
        if spec := _spec(module):
            return _defined(module, spec, parts[cut:])
    return None


def _spec(module: str) -> ModuleSpec | None:
    """As ``find_spec``, which would import the packages above a module."""
    top, *rest = module.split(".")
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return None
    for i in range(len(rest)):
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(".".join([top, *rest[: i + 1]]), list(spec.submodule_search_locations))
    return spec


def _defined(module: str, spec: ModuleSpec, names: Sequence[str]) -> Source | None:
    if not spec.origin or not spec.origin.endswith(".py"):
        return None
    body = ast.parse(Path(spec.origin).read_text()).body
    name, *rest = names
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            for inner in rest:  # a class method as target
                members = [n for n in getattr(node, "body", []) if getattr(n, "name", None) == inner]
                if not members:
                    return None
                node = members[0]
            return Source(node, module)
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if name == (alias.asname or alias.name):
                    package = module if spec.submodule_search_locations is not None else module.rpartition(".")[0]
                    origin = resolve_name("." * node.level + (node.module or ""), package)
                    return find(".".join([origin, alias.name, *rest]))
    return None


def summary(node: ast.ClassDef | ast.FunctionDef) -> str:
    """The first sentence of a docstring, on one line and without markup; empty where there is none."""
    return first_sentence(inspect.cleandoc(ast.get_docstring(node) or "").partition("\n\n")[0])


def first_sentence(text: str) -> str:
    """Up to the first full stop that is not an abbreviation's, on one line."""
    text = " ".join(text.split()).replace("``", "")
    first = re.match(r".*?(?<!et al)(?<!e\.g)(?<!i\.e)\.(?=\s|$)", text)
    return (first[0] if first else text).rstrip(".:")


def directions(source: Source) -> dict[str, str]:
    """The directions that a metric declares; empty where they are not a literal."""
    return attribute(source, "directions") or {}


def attribute(source: Source, name: str) -> Any:
    """A class attribute, or that of the base that has it; None where there is none or it is not a literal."""
    for node in source.node.body:
        names = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(n, ast.Name) and n.id == name for n in names) and getattr(node, "value", None):
            try:
                return ast.literal_eval(node.value)
            except ValueError:
                return None
    for base in getattr(source.node, "bases", []):
        spec = _spec(source.module)
        if isinstance(base, ast.Name) and spec and (found := _defined(source.module, spec, [base.id])):
            return attribute(found, name)
    return None


def _read(file: Path) -> dict[str, Any]:
    import yaml

    try:
        return yaml.safe_load(file.read_text()) or {}
    except yaml.YAMLError as error:
        raise UserError(f"{file} is not YAML: {' '.join(str(error).split())}") from error


def _targets(file: Path) -> Iterator[tuple[str, str]]:
    """Key and ``_target_`` of every node of a config file, then those of the files it builds on."""
    config = _read(file)
    yield from _walk(config, file.stem)
    for default in config.get("defaults", []):
        base = file.parent / f"{default}.yaml"
        if base.is_file():
            yield from _targets(base)


def _walk(node: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict):
        if isinstance(node.get("_target_"), str):
            yield key, node["_target_"]  # what lies deeper is its arguments
            return
        for name, value in node.items():
            yield from _walk(value, str(name))


def listing(kind: str, conf: Path = CONF) -> list[tuple[str, str]]:
    """Name and first sentence of every choice in the config group of ``kind``.

    Choices of one target share its docstring, so the comment that opens their file speaks for each of them instead.

    Raises:
        UserError: there is no such folder, or a file in it is not YAML.
    """
    targets = {file: next((target for _, target in _targets(file)), None) for file in _files(kind, conf)}
    shared = Counter(targets.values())
    found = []
    for file, target in targets.items():
        comment = _comment(file) if shared[target] > 1 else ""
        found.append((file.stem, comment or _sentence(target)))
    return found


def _comment(file: Path) -> str:
    opening = takewhile(lambda line: line.startswith("#"), file.read_text().splitlines())
    return first_sentence(" ".join(line.strip("# ") for line in opening if not line.startswith("# @package")))


def metrics(conf: Path = CONF) -> list[tuple[str, str, str, str]]:
    """Of every metric: its key, the evaluations with it, the names it returns with their directions, its sentence."""
    keys: dict[tuple[str, str], list[str]] = {}
    for file in _files("metrics", conf):
        for key_and_target in _targets(file):
            keys.setdefault(key_and_target, []).append(file.stem)
    found = []
    for (key, target), files in keys.items():
        source = find(target)
        names = directions(source) if source else {}
        arrows = "\n".join(f"{name} {ARROWS.get(direction, '')}" for name, direction in names.items())
        found.append((key, ", ".join(files), arrows or "-", _sentence(target)))
    return found


def addons(conf: Path = CONF) -> list[tuple[str, str, str]]:
    """Of every add-on: its name, the data it looks at whatever the method may see, its sentence."""
    found = []
    for name, sentence in listing("addons", conf):
        targets = [target for _, target in _targets(conf / GROUPS["addons"] / f"{name}.yaml")]
        source = find(targets[0]) if targets else None
        looks = (attribute(source, "looks") or ()) if source else ()
        labels = source is not None and attribute(source, "sees_labels")
        found.append((name, ", ".join([*looks, *(["labels"] if looks and labels else [])]) or "-", sentence))
    return found


def _files(kind: str, conf: Path) -> list[Path]:
    folder = conf / GROUPS[kind]
    if not folder.is_dir():
        raise UserError(f"no folder {folder}: --conf must name the folder that holds the config groups")
    return sorted(folder.glob("*.yaml"))


def _sentence(target: str | None) -> str:
    if target is None:
        return "-"
    source = find(target)
    return (summary(source.node) if source else "") or f"({target})"


def table(kind: str, conf: Path = CONF) -> Table:
    """The listing as a table."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    if kind == "metrics":
        heads = ["metric\n(evaluations)", "names", "what"]
        rows = [(f"{key}\n({evaluations})", names, what) for key, evaluations, names, what in metrics(conf)]
    elif kind == "addons":
        heads, rows = ["addon", "sees", "what"], addons(conf)
    else:
        heads, rows = [GROUPS[kind], "what"], listing(kind, conf)
    for head in heads:
        last = head == "what"
        table.add_column(head, no_wrap=not last, overflow="fold", style="cyan" if head == heads[0] else None)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    from rich.console import Console

    parser = argparse.ArgumentParser(prog="python -m unlearning.catalogue", description=__doc__)
    parser.add_argument("kind", choices=GROUPS, help="what to list")
    parser.add_argument("--conf", type=Path, default=CONF, metavar="DIR", help="folder of the config groups")
    args = parser.parse_args(argv)
    try:
        found = table(args.kind, args.conf)
    except UserError as error:
        print(f"catalogue: {error}", file=sys.stderr)
        return 1
    console = Console(highlight=False)
    console.print(found)
    if args.kind == "metrics":
        console.print(LEGEND, style="dim")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
