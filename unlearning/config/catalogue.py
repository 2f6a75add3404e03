"""List the choices of a config group with a one-sentence summary of each.

``python -m unlearning.config.catalogue methods``. Docstrings and the directions of metrics are read from the source, so
nothing heavy is imported, and a new file in ``conf/`` is listed as soon as it is there.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.util import resolve_name
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import UserError
from ..runtime.program import program
from .groups import GROUPS
from .imports import Module, read_module
from .legend import ARROWS, LEGEND
from .paths import CONF

if TYPE_CHECKING:
    from rich.table import Table

METRICS = "metrics"  # listed one by one, since an evaluation holds many
KINDS = (METRICS, *(f"{group}s" for group in GROUPS))


class Source(NamedTuple):
    """A definition and the module that it is in."""

    node: ast.ClassDef | ast.FunctionDef
    module: Module


def find(target: str) -> Source | None:
    """The definition that a ``_target_`` names, re-exports followed, nothing imported.

    None for what a library defines and for what does not exist.
    """
    parts = target.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        if module := read_module(".".join(parts[:cut])):
            return definition(module, parts[cut:])
    return None


def definition(module: Module, names: Sequence[str]) -> Source | None:
    """The definition that a name refers to in a module; several names lead into a class."""
    name, *rest = names
    for node in module.tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            found = inside(node, rest)
            return Source(found, module) if found else None
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if name == (alias.asname or alias.name):
                    is_package = module.file.name == "__init__.py"
                    package = module.name if is_package else module.name.rpartition(".")[0]
                    origin = resolve_name("." * node.level + (node.module or ""), package)
                    return find(".".join([origin, alias.name, *rest]))
    return None


def inside(node: ast.ClassDef | ast.FunctionDef, names: Sequence[str]) -> ast.ClassDef | ast.FunctionDef | None:
    """The member of a class that these names lead to; the definition itself without names."""
    for name in names:
        members = (n for n in node.body if isinstance(n, ast.ClassDef | ast.FunctionDef) and n.name == name)
        if (member := next(members, None)) is None:
            return None
        node = member
    return node


def attribute(source: Source, name: str) -> Any:
    """The value of a class attribute, own or inherited; None where there is none or it is not a literal."""
    for node in source.node.body:
        names = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if value is not None and any(isinstance(n, ast.Name) and n.id == name for n in names):
            try:
                return ast.literal_eval(value)
            except ValueError:
                return None
    for base in getattr(source.node, "bases", []):
        if isinstance(base, ast.Name) and (found := definition(source.module, [base.id])):
            return attribute(found, name)
    return None


def summary(target: str | None) -> str:
    """The first sentence of the docstring of a target; empty where there is none."""
    source = find(target) if target else None
    docstring = ast.get_docstring(source.node) if source else None
    return first_sentence(inspect.cleandoc(docstring or "").partition("\n\n")[0])


def first_sentence(text: str) -> str:
    """The text up to the first full stop that does not end an abbreviation, on one line and without markup."""
    text = " ".join(text.split()).replace("``", "")
    first = re.match(r".*?(?<!et al)(?<!e\.g)(?<!i\.e)\.(?=\s|$)", text)
    return (first[0] if first else text).rstrip(".:")


def comment_of(file: Path) -> str:
    """The first sentence of the comment that opens a configuration file."""
    opening = takewhile(lambda line: line.startswith("#"), file.read_text().splitlines())
    return first_sentence(" ".join(line.strip("# ") for line in opening if not line.startswith("# @package")))


def targets_of(file: Path, conf: Path) -> Iterator[tuple[str, str]]:
    """Key and ``_target_`` of every node of a configuration file, then those of the files it builds on."""
    import yaml

    try:
        config = yaml.safe_load(file.read_text()) or {}
    except yaml.YAMLError as error:
        raise UserError(f"{file} is not YAML: {' '.join(str(error).split())}", kind="file") from error
    yield from targets_below(config, file.stem)
    for default in config.get("defaults", []):
        name = str(default).partition("@")[0]  # the part after @ says where its content goes
        base = conf / f"{name[1:]}.yaml" if name.startswith("/") else file.parent / f"{name}.yaml"
        if base.is_file():
            yield from targets_of(base, conf)


def targets_below(node: Any, key: str) -> Iterator[tuple[str, str]]:
    """Key and ``_target_`` of the topmost nodes that have one; deeper ones are their arguments."""
    if isinstance(node, dict):
        if isinstance(node.get("_target_"), str):
            yield key, node["_target_"]
            return
        for name, value in node.items():
            yield from targets_below(value, str(name))


def files_of(group: str, conf: Path) -> list[Path]:
    """The files of a group's choices. Raises ``UserError`` where the group has no folder."""
    folder = conf / group
    if not folder.is_dir():
        raise UserError(
            f"no folder {folder}: --conf must name the folder that holds the config groups", key="--conf", kind="file"
        )
    return sorted(folder.glob("*.yaml"))


def listing(group: str, conf: Path = CONF) -> list[tuple[str, str]]:
    """Name and summary of every choice of a group.

    The summary is the first sentence of the docstring of what the choice builds. Where several choices build the same,
    or there is no docstring, it is the comment that opens the file.
    """
    targets = {file: next((target for _, target in targets_of(file, conf)), None) for file in files_of(group, conf)}
    shared = Counter(targets.values())
    found = []
    for file, target in targets.items():
        texts = [summary(target), comment_of(file)]
        ordered = texts if shared[target] == 1 else reversed(texts)
        found.append((file.stem, next(filter(None, ordered), f"({target})" if target else "-")))
    return found


def metrics(conf: Path = CONF) -> list[tuple[str, str, str, str]]:
    """The key of every metric, the evaluations that include it, its names with their directions, and its summary."""
    return [
        (key, ", ".join(evaluations), "\n".join(names_of(target)) or "-", summary(target) or f"({target})")
        for (key, target), evaluations in evaluated(conf).items()
    ]


def evaluated(conf: Path = CONF) -> dict[tuple[str, str], list[str]]:
    """The evaluations that include each metric, by its key and ``_target_``."""
    keys: dict[tuple[str, str], list[str]] = {}
    for file in files_of("evaluation", conf):
        for key_and_target in targets_of(file, conf):
            keys.setdefault(key_and_target, []).append(file.stem)
    return keys


def names_of(target: str) -> list[str]:
    """The names that a metric returns, each with the arrow that says how it is read."""
    source = find(target)
    names = (attribute(source, "directions") or {}) if source else {}
    return [f"{name} {ARROWS.get(direction, '')}" for name, direction in names.items()]


def addons(conf: Path = CONF) -> list[tuple[str, str, str]]:
    """The name of every add-on, the data it looks at in addition to the method's, and its summary."""
    found = []
    for name, text in listing("addon", conf):
        targets = [target for _, target in targets_of(conf / "addon" / f"{name}.yaml", conf)]
        source = find(targets[0]) if targets else None
        looks = (attribute(source, "looks") or ()) if source else ()
        labels = source is not None and attribute(source, "sees_labels")
        found.append((name, ", ".join([*looks, *(["labels"] if looks and labels else [])]) or "-", text))
    return found


def table(kind: str, conf: Path = CONF) -> Table:
    """The listing of a kind as a table."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    group = kind.removesuffix("s")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    rows: list[tuple[str, ...]]
    if kind == METRICS:
        heads = ["metric\n(evaluations)", "names", "what"]
        rows = [(f"{key}\n({evaluations})", names, what) for key, evaluations, names, what in metrics(conf)]
    elif group == "addon":
        heads, rows = [group, "sees", "what"], [*addons(conf)]
    else:
        heads, rows = [group, "what"], [*listing(group, conf)]
    for head in heads:
        last = head == "what"
        table.add_column(head, no_wrap=not last, overflow="fold", style="cyan" if head == heads[0] else None)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    from rich.console import Console

    parser = argparse.ArgumentParser(prog="python -m unlearning.config.catalogue", description=__doc__)
    parser.add_argument("kind", choices=KINDS, help="what to list")
    parser.add_argument("--conf", type=Path, default=CONF, metavar="DIR", help="folder of the config groups")
    args = parser.parse_args(argv)
    try:
        found = table(args.kind, args.conf)
    except UserError as error:
        print(f"catalogue: {error}", file=sys.stderr)
        return 1
    console = Console(highlight=False)
    console.print(found)
    if args.kind == METRICS:
        console.print(LEGEND, style="dim")
    return 0


if __name__ == "__main__":
    program(main)
