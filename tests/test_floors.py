"""The architecture, held by the imports: each floor imports only from itself and from the floors below it."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import ROOT
from unlearning.config.groups import GROUPS
from unlearning.config.imports import Module, read_module

PACKAGE = ROOT / "unlearning"
FLOORS = [  # from the ground up; a folder stands for all its modules, of which each may have a floor of its own
    {"errors", "types", "schedules", "runtime", "records.names"},
    {"losses", "gradients"},
    {"data", "models"},
    {"scenarios"},
    {"addons"},
    {"methods"},
    {"metrics"},
    {"config"},
    {"engine"},
    {"request"},
    {"records"},
    {"report", "verify", "populations", "difficulty", "store"},
    {"pipeline", "api"},
    {"sweeps", "tune"},
    {"cli", "requests"},
]
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}
ONLY = {  # the parts that may import a library
    "mlflow": {"records"},
    "hydra": {"config", "sweeps"},
    "omegaconf": {"config", "sweeps"},
    "pydantic": {"config"},
    "optuna": {"tune"},
}
FILES = sorted(PACKAGE.rglob("*.py"))
CODE = [*FILES, *sorted((ROOT / "hydra_plugins").rglob("*.py")), *sorted((ROOT / "experiments").rglob("*.py"))]
OTHER_FOLDERS = {"base", "hydra", "optimizer", "schedule", "search", "table"}  # of conf: parts and settings


def module(file: Path) -> Module:
    """The module that a file of the package holds."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    found = read_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    assert found is not None
    return found


def within(name: str) -> str:
    """A module's name without that of the package; empty for libraries and for the package itself."""
    package, _, rest = name.partition(".")
    return rest if package == PACKAGE.name else ""


def level(name: str) -> int | None:
    """The floor of a module, or of something in one; None for libraries."""
    parts = name.split(".")
    return next(
        (LEVEL[part] for part in (".".join(parts[:end]) for end in range(len(parts), 0, -1)) if part in LEVEL), None
    )


def top(name: str) -> str:
    """The first part of a dotted name."""
    return name.partition(".")[0]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_imports_go_downwards(file: Path) -> None:
    found = module(file)
    own = within(found.name)
    if not own:  # the package, which loads its names when they are used
        return
    floor = level(own)
    assert floor is not None, f"{own} has no floor: give it one in FLOORS"
    for name in found.imports:
        below = level(within(name))
        assert below is None or below <= floor, f"{own} imports {name}"
        assert top(own) in ONLY.get(top(name), {top(own)}), f"{own} imports {name}"


def test_an_import_upwards_would_be_found() -> None:
    assert level("engine.key.key_of") > level("metrics.base") > level("runtime.cost") == 0
    assert level("data.feed") == LEVEL["data"]
    assert level("elsewhere") is None
    imported = module(PACKAGE / "sweeps.py").imports
    assert {"unlearning.config.compose", "unlearning.report.command", "hydra.core.hydra_config"} <= set(imported)


def test_what_verifies_numbers_shares_no_code_with_what_makes_them() -> None:
    found = {within(name) for file in (PACKAGE / "verify").glob("*.py") for name in module(file).imports}
    assert not {
        name for name in found if name and not name.startswith(("verify", "errors", "records.names", "runtime.program"))
    }
    assert "records.names.RESULTS" in found


def test_no_modules_import_each_other() -> None:
    """Imports inside functions count, and so do cycles through several modules."""
    names = {module(file).name for file in FILES}
    graph = {
        name: {other for other in names & set(found.imports) if other not in (name, PACKAGE.name)}
        for name, found in ((found.name, found) for found in map(module, FILES))
    }
    TopologicalSorter(graph).prepare()  # raises CycleError


def calls(file: Path, name: str) -> bool:
    """Whether a file's code uses a name, as a word of its own or as an attribute."""
    return any(
        name in (getattr(node, "id", ""), getattr(node, "attr", ""), getattr(node, "name", ""))
        for node in ast.walk(ast.parse(file.read_text()))
    )


def test_one_place_builds() -> None:
    builders = [file for file in FILES if calls(file, "instantiate")]
    assert builders == [PACKAGE / "config" / "build.py"]


@pytest.mark.parametrize(("name", "places"), [("_internal", []), ("_exit", [PACKAGE / "runtime" / "program.py"])])
def test_no_internals_of_hydra_and_one_exit_by_force(name: str, places: list[Path]) -> None:
    """``hydra._internal`` is not used, and ``os._exit`` where an interrupted program ends."""
    assert [file for file in [*CODE, ROOT / "run.py"] if calls(file, name)] == places
    for file in [*CODE, ROOT / "run.py"]:
        assert not any(name in imported.split(".") for imported in imports_of(file)), file


def imports_of(file: Path) -> Iterator[str]:
    """The dotted names that a file imports."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


# Rooms


def test_the_root_of_the_package_has_at_most_ten_modules() -> None:
    assert len([file for file in PACKAGE.glob("*.py") if file.name != "__init__.py"]) <= 10


@pytest.mark.parametrize(("files", "most"), [(CODE, 250), (sorted((ROOT / "tests").rglob("*.py")), 400)])
def test_files_are_short(files: list[Path], most: int) -> None:
    long = {str(file.relative_to(ROOT)): n for file in files if (n := len(file.read_text().splitlines())) > most}
    assert not long


# The one list of the groups of the configuration


def test_the_groups_are_the_folders_of_the_configuration() -> None:
    folders = {path.name for path in (ROOT / "conf").iterdir() if path.is_dir()}
    assert folders == GROUPS.keys() | OTHER_FOLDERS


def test_the_groups_are_listed_once() -> None:
    """A tuple, list, set or dict with half of their names would be another list."""
    found = []
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            entries = getattr(node, "keys", None) or getattr(node, "elts", None) or []
            named = {entry.value for entry in entries if isinstance(entry, ast.Constant)} & GROUPS.keys()
            if len(named) > len(GROUPS) // 2:
                found.append(file)
    assert found == [PACKAGE / "config" / "groups.py"]
