"""The architecture, held by the imports: each floor may import only from the floors below it."""

import ast
from pathlib import Path

import pytest

from unlearning.config.schema import ROOT

PACKAGE = ROOT / "unlearning"
FLOORS = [  # from the ground up; a folder stands for all its modules
    {"errors", "types", "digests", "distributed", "schedules", "memory", "cost", "noise"},
    {"losses", "importance", "sample_gradients", "fisher", "ekfac"},
    {"data", "models"},
    {"addons"},
    {"methods"},
    {"metrics"},
    {"config", "guide", "catalogue"},  # these import no torch
    {"build", "store", "tracking", "predict", "progress", "table"},
    {"records"},
    {"pipeline", "report"},
    {"cli"},
]
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}
FORBIDDEN = {
    **{floor: {"mlflow", "hydra", "omegaconf"} for floor in ("methods", "addons", "metrics", "models", "data")},
}
ONLY = {"mlflow": {"tracking"}}
FILES = sorted(PACKAGE.rglob("*.py"))


def part(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(file: Path) -> list[tuple[str, str]]:
    """(part of this package or '', top-level module) of every import in a file, wherever it stands."""
    package = ["unlearning", *file.relative_to(PACKAGE).with_suffix("").parts]
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: -node.level] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            targets = [f"{stem}.{alias.name}" for alias in node.names]
        else:
            continue
        for target in targets:
            names = target.split(".")
            found.append((names[1] if names[0] == "unlearning" and len(names) > 1 else "", names[0]))
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_imports_go_downwards(file: Path) -> None:
    own = part(file)
    if own == "__init__":
        return
    assert own in LEVEL, f"{own} has no floor: give it one in FLOORS"
    for imported, top in imports(file):
        assert not imported or imported == own or LEVEL[imported] <= LEVEL[own], f"{own} imports {imported}"
        assert top not in FORBIDDEN.get(own, ()), f"{own} imports {top}"
        assert own in ONLY.get(top, {own}), f"{own} imports {top}"


def test_one_place_builds() -> None:
    builders = [part(file) for file in FILES if "instantiate(" in file.read_text()]
    assert builders == ["build"]
