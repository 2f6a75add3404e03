"""The command line as tests use it: in this process, or as a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

import pytest

from unlearning import cli
from unlearning.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
FAST = ("tracking=none", "pretrain.epochs=1", "method=finetune", "method.epochs=1")


class Done(NamedTuple):
    """The outcome of a command."""

    code: int
    out: str
    err: str

    @property
    def folder(self) -> Path:
        """The folder of the run, whose results are the last line on the screen."""
        return Path(self.out.strip().splitlines()[-1]).parent

    @property
    def results(self) -> dict[str, Any]:
        """The content of that folder's ``results.json``."""
        return json.loads((self.folder / "results.json").read_text())


@pytest.fixture
def command(places: list[str], capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """A function that calls the command line in this process."""

    def call(*words: str) -> Done:
        capsys.readouterr()
        code = cli.main([*places, *words])
        return Done(code, *capsys.readouterr())

    return call


@pytest.fixture
def refused(command: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., UserError]:
    """A function that calls the command line with a mistake, and returns the error.

    It also checks what holds for every mistake: exit code 1, one line on the screen, and no half-written run.
    """
    raised: list[UserError] = []
    original = cli.call

    def recording(*arguments: Any) -> int:
        try:
            return original(*arguments)
        except UserError as error:
            raised.append(error)
            raise

    def call(*words: str) -> UserError:
        raised.clear()
        before = {folder: names(folder) for folder in runs(tmp_path)}
        done = command(*words)
        assert (done.code, done.out) == (1, "")
        (error,) = raised
        assert done.err == f"error: {' '.join(str(error).split())}\n"
        for folder in runs(tmp_path):
            assert names(folder) in (before.get(folder), {"FAILED", "log.txt", "provenance.json"})
        return error

    monkeypatch.setattr(cli, "call", recording)
    return call


def runs(root: Path) -> list[Path]:
    """The folders of all runs below ``paths.root``."""
    return sorted(path for path in (root / "multirun").glob("*") if not path.name.startswith("."))


def names(folder: Path) -> set[str]:
    """The names of the files in a folder."""
    return {path.name for path in folder.iterdir()}


def without_cost(results: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The metrics of each model, but for its cost."""
    rows = results["rows"].items()
    return {row: {name: value for name, value in found.items() if not name.startswith("cost/")} for row, found in rows}


def start(*words: str, stdout: int | IO[str] = subprocess.PIPE, **environment: str) -> subprocess.Popen[str]:
    """The command line as a process of its own, with one thread."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), *words],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )
