"""Whole commands: help, the default job, and a sweep that looks at the data once."""

from __future__ import annotations

import itertools
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from unlearning.config.compose import composed
from unlearning.pipeline import run
from unlearning.request import Request

from .measure import Claim, cpu_seconds

ROOT = Path(__file__).resolve().parents[2]
SWEEP = [
    (f"method.alpha={alpha}", f"method.lam={lam}") for alpha, lam in itertools.product((50, 100, 200, 400), (0.5, 1.0))
]


def command(*arguments: str) -> Callable[[], subprocess.CompletedProcess[str]]:
    """A function that runs Python with these arguments in the repository's root; it raises where Python fails."""
    return lambda: subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True, text=True)


def wall_seconds(work: Callable[[], object]) -> float:
    """Seconds by the clock that ``work`` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def help_text(repetitions: int) -> list[Claim]:
    """Wall seconds of the help, and the number of modules of torch that it imports."""
    ask = command("run.py", "--help")
    seconds = statistics.median(wall_seconds(ask) for _ in range(2 * repetitions + 1))
    return [
        Claim("python run.py --help", seconds, 0.3, unit="s (wall)"),
        Claim("modules of torch that --help imports", len(torch_modules_of_help()), 0, unit=""),
    ]


def torch_modules_of_help() -> list[str]:
    """Names of the modules of torch that ``python run.py --help`` imports."""
    return [name for name in modules_of_help() if name.split(".")[0] == "torch"]


def modules_of_help() -> list[str]:
    """Names of all modules that ``python run.py --help`` imports."""
    lines = command("-X", "importtime", "run.py", "--help")().stderr.splitlines()
    return [line.rpartition("|")[2].strip() for line in lines]


def sweep() -> list[Claim]:
    """Eight settings of SSD on the digits, with a common store of importances and with a store for each setting."""
    with tempfile.TemporaryDirectory() as root:
        models, common = Path(root, "models"), Path(root, "common")
        job(Path(root, "first"), models, "method=original")  # trains the reference models
        shutil.copytree(models, common)
        apart_seconds, together_seconds = [], []
        for number, settings in enumerate(SWEEP):
            own = Path(root, f"store{number}")
            shutil.copytree(models, own)
            apart_seconds.append(cpu_seconds(lambda s=settings, o=own: ssd(Path(root, "apart"), o, *s)))
            together_seconds.append(cpu_seconds(lambda s=settings: ssd(Path(root, "together"), common, *s)))
        together, apart = (list(costs(Path(root, name))) for name in ("together", "apart"))
    once = apart[0]["cost/passes_run"]
    return [
        Claim(
            "sample passes of an 8-point alpha x lambda sweep of SSD / those of one run",
            sum(c["cost/passes_run"] for c in together) / once,
            1,
            note=f"{once:,.0f} passes; apart {sum(c['cost/passes_run'] for c in apart) / once:g} x",
        ),
        Claim(
            "8 separate runs / the sweep, evaluation and records included",
            sum(apart_seconds) / sum(together_seconds),
            1,
            at_least=True,
            note=f"digits: {sum(apart_seconds):.1f} and {sum(together_seconds):.1f} CPU s",
        ),
    ]


def ssd(root: Path, store: Path, *overrides: str) -> Path:
    """The folder of a run of SSD on the digits."""
    return job(root, store, "method=ssd", *overrides)


def job(root: Path, store: Path, *overrides: str) -> Path:
    """The folder of a run on the digits."""
    return run(Request(*composed(*overrides, f"paths.root={root}", f"paths.store={store}", "tracking=none")))


def costs(root: Path) -> Iterator[dict[str, float]]:
    """The costs of each run under a root."""
    for file in sorted(root.glob("multirun/*/results.json")):
        yield json.loads(file.read_text())["cost"]


def default_job() -> list[Claim]:
    """Wall seconds of ``python run.py`` with an empty store, and with the reference models in it.

    The machine must be idle.
    """
    with tempfile.TemporaryDirectory() as root:
        job = "run.py", f"paths.root={root}"
        cold = wall_seconds(command(*job))
        cached = wall_seconds(command(*job, "force=true"))
    return [
        Claim("python run.py, cold", cold, 25, unit="s (wall)"),
        Claim("python run.py, reference models cached", cached, 10, unit="s (wall)"),
    ]
