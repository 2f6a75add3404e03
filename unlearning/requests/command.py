"""Make a chain of requests for deletion, each from the model that the one before left, and show how the model drifts.

  python -m unlearning.requests scenario.files=[week1.txt,week2.txt] dataset=... model=... method=...

makes for each list the run that ``python run.py scenario=list scenario.file=LIST after=RUN_BEFORE`` makes with the same
settings; finished runs are not repeated. Besides these settings it takes

  scenario.files=[A,B,...]  the lists, in their order
  merge=true                also make one joint request of all lists, from the first model
  seeds=[A,B,...]           make a chain with each seed; the table and the figure show means over them
  figure=FILE               draw the table as FILE, such as drift.png
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from ..config.arguments import read
from ..config.launch import asked
from ..errors import UserError
from ..records.names import RESULTS
from ..runtime.threads import wait_passively
from ..sweeps import execute, request_of
from .drift import Step, averaged, drift_figure, drift_table, step

FILES, MERGE, FIGURE, AFTER, SEEDS = "scenario.files", "merge", "figure", "after", "seeds"
FEWEST = 2  # lists


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; the exit code is 0 only if all runs succeeded."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    try:
        return call(words)
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    except KeyboardInterrupt:
        print("error: interrupted: the same command goes on where it stopped", file=sys.stderr)
    return 1


def call(words: Sequence[str]) -> int:
    """``main`` without its handling of errors."""
    wait_passively()  # before torch is imported
    own, settings = taken(words)
    files, merge = lists(own.get(FILES)), yaml.safe_load(own.get(MERGE, "false"))
    if not isinstance(merge, bool):
        raise UserError(f"{MERGE}={merge} must be true or false", key=MERGE)
    chains, last = [], []
    for seed in seeds(own.get(SEEDS), own.get(AFTER)):
        steps, folder = chain(files, [*settings, *seed], own.get(AFTER), merge)
        chains.append(steps)
        last.append(folder)
    steps = averaged(chains)
    drift_table(steps)
    print(*(f"the last model: {folder}" for folder in last), sep="\n")
    if FIGURE in own:
        try:
            drift_figure(steps).savefig(own[FIGURE], dpi=150)
        except (OSError, ValueError) as error:
            raise UserError(f"{FIGURE}={own[FIGURE]} cannot be written: {error}", key=FIGURE, kind="storage") from None
    return 0


def chain(files: Sequence[str], settings: Sequence[str], after: str | None, merge: bool) -> tuple[list[Step], Path]:
    """What the runs of one chain have measured, and the folder of the last one."""
    steps, begun = [], after
    for file in files:
        folder = made([*settings, f"scenario.file={quoted(file)}"], after, Path(file).name)
        steps.append(found(Path(file).name, folder))
        after = str(folder)
    if merge:
        joint = f"scenario.file=[{','.join(map(quoted, files))}]"
        steps.append(found("joint", made([*settings, joint], begun, "joint")))
    return steps, folder


def seeds(value: str | None, after: str | None) -> list[list[str]]:
    """The setting of the seed for each chain: nothing for a single one without ``seeds``."""
    if value is None:
        return [[]]
    try:
        wanted = yaml.safe_load(value)
    except yaml.YAMLError:
        wanted = None
    if not isinstance(wanted, list) or not wanted or not all(type(seed) is int for seed in wanted):
        raise UserError(f"{SEEDS}={value} must be a list of seeds, such as [0,1,2]", key=SEEDS)
    if len(set(wanted)) < len(wanted):
        raise UserError(f"{SEEDS}={value} names a seed twice", key=SEEDS)
    if after is not None:
        raise UserError(f"{SEEDS} and {AFTER} exclude each other: a run has one seed", key=SEEDS, kind="conflict")
    return [[f"seed={seed}"] for seed in wanted]


def taken(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """What this command alone is told, by name, and the settings of its runs."""
    own: dict[str, str] = {}
    settings = ["scenario=list"]
    for word in words:
        name, equals, value = word.partition("=")
        if name == "scenario.file" or (name == "scenario" and value != "list"):
            raise UserError(f"{word}: requests one after the other are lists: set {FILES}=[A,B]", key=name, kind="key")
        if equals and name in (FILES, MERGE, FIGURE, AFTER, SEEDS):
            own[name] = value
        elif name != "scenario":
            settings.append(word)
    return own, settings


def lists(value: str | None) -> list[str]:
    """The files of the requests. Raises ``UserError`` where there are not at least two."""
    try:
        files = yaml.safe_load(value or "")
    except yaml.YAMLError:
        files = None
    if not isinstance(files, list) or len(files) < FEWEST or not all(isinstance(file, str) for file in files):
        raise UserError(f"{FILES}={value} must name at least {FEWEST} lists, such as [a.txt,b.txt]", key=FILES)
    if len(set(files)) < len(files):
        raise UserError(f"{FILES}={value} names a list twice", key=FILES)
    if missing := [file for file in files if not Path(file).expanduser().is_file()]:
        raise UserError(f"{FILES}: there is no file {', '.join(missing)}", key=FILES, kind="file")
    return files


def made(settings: Sequence[str], after: str | None, name: str) -> Path:
    """The folder of one request's run. Raises ``UserError`` that names the request where it fails."""
    arguments = read([*settings, *([] if after is None else [f"{AFTER}={quoted(after)}"])])
    if arguments.sweep or arguments.flags or arguments.explain:
        raise UserError("requests one after the other are single runs: leave flags out", kind="conflict")
    try:
        (request,) = asked(request_of, arguments, None)
        print(f"{name}: {request.label}", flush=True)
        return execute(request)
    except UserError as error:
        raise UserError(f"{name}: {error}", key=error.key, kind=error.kind) from None


def quoted(path: str) -> str:
    """A path as a setting's value, in quotes where Hydra would read signs in it."""
    if re.fullmatch(r"[\w./-]+", path):
        return path
    return "'" + path.replace("\\", "\\\\").replace("'", "\\'") + "'"


def found(name: str, folder: Path) -> Step:
    """What one run of a chain has measured."""
    return step(name, json.loads((folder / RESULTS).read_text()))
