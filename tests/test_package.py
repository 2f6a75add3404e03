"""The wheel: installed without this checkout, it runs the default job from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import matplotlib
import pytest
import yaml

import unlearning

ROOT = Path(__file__).resolve().parents[1]
SHORT = ("tracking=none", "pretrain.epochs=1", "method=finetune", "method.epochs=1")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by the installed backend: no network is needed."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel; libraries are found in that of the tests, by a path file."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    install = ["install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), *install], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    # Path files in a folder that a path file names are not read: so the editable install of the checkout is not seen.
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages / "libraries.pth").write_text("\n".join(libraries))
    return folder


@pytest.fixture
def run(environment: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A function that runs a program of the environment in an empty folder, for a user whose home folder is empty."""
    (home := tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "UNLEARNING"))}
    own |= {"HOME": str(home), "MPLCONFIGDIR": matplotlib.get_cachedir(), "OMP_NUM_THREADS": "1"}

    def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(environment / "bin" / program), *arguments]
        return subprocess.run(command, cwd=tmp_path / "work", env=own, capture_output=True, text=True)

    return run


def files(folder: Path) -> set[str]:
    """The files below a folder, but for compiled modules."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name for name in found if not name.endswith(".pyc")}


def test_the_wheel_holds_the_configuration_the_plugins_and_the_types(wheel: Path):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, inside in (
        ("unlearning", "unlearning"),
        ("hydra_plugins", "hydra_plugins"),
        ("conf", "unlearning/conf"),
    ):
        assert {f"{inside}/{name}" for name in files(ROOT / folder)} <= names
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"unlearning", "hydra_plugins"}


def test_the_default_job_runs_from_any_folder(run, environment: Path, tmp_path: Path):
    before = files(environment)
    done = run("unlearn", *SHORT)
    assert (done.returncode, done.stderr) == (0, "")
    results = Path(done.stdout.split()[-1])
    assert results.relative_to(tmp_path / "work" / "multirun").name == "results.json"
    assert {path.name for path in (tmp_path / "work").iterdir()} == {"multirun", "store"}
    assert not files(tmp_path / "home")
    assert files(environment) == before


def test_the_package_is_that_of_the_environment(run, environment: Path):
    done = run("python", "-c", "import unlearning; print(unlearning.__file__)")
    assert Path(done.stdout.strip()).is_relative_to(environment)


def test_help_and_version_need_no_folder(run, tmp_path: Path):
    assert run("unlearn", "--version").stdout.split() == ["unlearning", unlearning.__version__]
    helped = run("unlearn", "--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert {file.stem for file in (ROOT / "conf" / "method").glob("*.yaml")} <= set(helped.stdout.split())
    assert not files(tmp_path)


def test_the_citation_is_of_this_version():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == unlearning.__version__
