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

from unlearning.config.schema import ROOT
from unlearning.pipeline import run

from .measure import Claim, cpu_seconds
from .setting import composed

SWEEP = [
    (f"method.alpha={alpha}", f"method.lam={lam}") for alpha, lam in itertools.product((50, 100, 200, 400), (0.5, 1.0))
]


def command(*arguments: str) -> Callable[[], object]:
    return lambda: subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True, text=True)


def wall_seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def help_text(repetitions: int) -> list[Claim]:
    """Wall seconds of the help, and how many modules of torch it imports."""
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
    """Names of all modules that it imports."""
    lines = command("-X", "importtime", "run.py", "--help")().stderr.splitlines()
    return [line.rpartition("|")[2].strip() for line in lines]


def sweep() -> list[Claim]:
    """Eight settings of SSD on digits, with importances computed once and with importances computed for each."""
    with tempfile.TemporaryDirectory() as root:
        store = Path(root, "store")
        ssd(Path(root, "first"), store, *SWEEP[0])  # trains the reference models
        shutil.rmtree(store / "observations")
        apart_seconds, together_seconds = [], []
        for number, settings in enumerate(SWEEP):
            own = Path(root, f"store{number}")
            shutil.copytree(store, own, ignore=shutil.ignore_patterns("observations"))
            apart_seconds.append(cpu_seconds(lambda s=settings, o=own: ssd(Path(root, "apart"), o, *s)))
            together_seconds.append(cpu_seconds(lambda s=settings: ssd(Path(root, "together"), store, *s)))
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
    """The folder of a run of SSD on digits."""
    places = f"paths.root={root}", f"paths.store={store}", "tracking=none"
    return run(*composed("method=ssd", *places, *overrides), command="bench")


def costs(root: Path) -> Iterator[dict[str, float]]:
    """The cost of each run under a root."""
    for file in sorted(root.glob("multirun/*/results.json")):
        yield json.loads(file.read_text())["cost"]


def default_job() -> list[Claim]:
    """Wall seconds of ``python run.py``, cold and with the reference models in the store: for an idle machine."""
    with tempfile.TemporaryDirectory() as root:
        job = "run.py", f"paths.root={root}"
        cold = wall_seconds(command(*job))
        cached = wall_seconds(command(*job, "force=true"))
    return [
        Claim("python run.py, cold", cold, 25, unit="s (wall)"),
        Claim("python run.py, reference models cached", cached, 10, unit="s (wall)"),
    ]
