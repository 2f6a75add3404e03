"""The command line: one run or a sweep of runs, their tables, and what to say when something is wrong."""

from __future__ import annotations

import gc
import json
import logging
import os
import re
import shlex
import sys
import traceback
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import hydra
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from .config.schema import (
    COMPOSITION_ERRORS,
    GROUPS,
    ROOT,
    check_addons,
    check_choices,
    explain,
    folder_name,
    is_finished,
    is_tracked,
    known_keys,
    plain,
    register,
    run_key,
)
from .errors import UserError

failure: list[Exception] = []  # of a single run; Hydra would announce it in lines of its own
SWEEP = "UNLEARNING_SWEEP"  # names the sweep for its jobs, wherever a launcher runs them


def main() -> int:
    """Run what the command line says; the exit code is 0 only if every run succeeded."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # hands errors to us instead of printing them
    os.environ[SWEEP] = uuid.uuid4().hex[:12]
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    register()
    failure.clear()
    sweeps = is_sweep(sys.argv)
    if sweeps:
        sys.argv[1:] = map(for_each_job, sys.argv[1:])
    try:
        check_choices(sys.argv[1:])
        task()
        if failure:
            raise failure.pop()
    except UserError as error:
        return complain(str(error))
    except COMPOSITION_ERRORS as error:
        job = first_that_fails(sys.argv[1:])
        which = f"no run was started, because of {' '.join(job)}: " if job else ""
        return complain(which + explain(error, keys_near(job or sys.argv[1:])))
    except OSError as error:
        if not sweeps:
            raise
        # Only Hydra's and the jobs' records of a sweep fail here: what fails in a job is caught there.
        return complain(f"the folder of the sweep's records cannot be written ({error}): set paths.runs=DIR")
    except KeyboardInterrupt:
        return complain("interrupted: the run is not finished; the same command starts it again")
    return 0


def is_sweep(arguments: list[str]) -> bool:
    """Whether a command line asks for a sweep."""
    return bool({"-m", "--multirun"} & set(arguments))


def for_each_job(argument: str) -> str:
    """A sweep's argument; a setting within a group as a sweep of its one value, so that only the jobs get it.

    Hydra composes a configuration for the sweep itself from what is not swept. A group that is swept has its default
    choice there, which need not have the keys of the others.
    """
    groups = "|".join(group for group in GROUPS if group != "tracking")  # whose settings the sweep's summary needs
    swept = re.sub(rf"^(\+*({groups})\.[^=]+)=(?!\w+\()(.+)$", r"\1=choice(\3)", argument)
    with suppress(*COMPOSITION_ERRORS):  # the argument as it was is what Hydra should complain about
        OverridesParser.create().parse_override(swept)
        return swept
    return argument


def first_that_fails(arguments: list[str]) -> list[str]:
    """Of a sweep, the overrides of the first job that does not compose; Hydra does not tell which it is."""
    if not is_sweep(arguments):
        return []
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"), suppress(*COMPOSITION_ERRORS):
        parser = OverridesParser.create(GlobalHydra.instance().config_loader())
        overrides = parser.parse_overrides([a for a in arguments if not a.startswith("-")])
        for job in BasicSweeper.split_arguments(overrides, None)[0]:
            try:
                compose("config", list(job))
            except COMPOSITION_ERRORS:
                return list(job)
    return []


def keys_near(arguments: list[str]) -> list[str]:
    """The keys that exist under the groups which the command line chose, for advice on a key that does not."""
    chosen = [a for a in arguments if re.match(r"(addon|method|model|dataset|scenario|pretrain|trainer|tracking)=", a)]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        try:
            return known_keys(OmegaConf.to_container(compose("config", chosen)))
        except COMPOSITION_ERRORS:  # a sweep's lists of choices, or another mistake besides
            return list(GROUPS)


def complain(line: str) -> int:
    """Print an error as one line; returns the exit code."""
    print(f"error: {' '.join(line.split())}", file=sys.stderr)
    return 1


@hydra.main(version_base="1.3", config_path=str(ROOT / "conf"), config_name="config")
def task(composed: DictConfig) -> None:
    """One job: run it and show its table; in a sweep, go on past a failure and leave a line about it."""
    state = HydraConfig.get()
    choices = {group: state.runtime.choices.get(group) or "" for group in GROUPS}
    choices["addon"] = ",".join(composed.addon or ())  # Hydra keeps no record of a list of choices
    overrides = [o for o in state.overrides.task if not o.startswith(("force=", "paths.", "tracking"))]
    command = shlex.join(["python", "run.py", *overrides])
    if state.mode != RunMode.MULTIRUN:
        try:
            check_addons(overrides)
            folder = execute(plain(composed), choices, command, None)
            if os.environ.get("RANK", "0") == "0":
                show(folder)
        except (UserError, *COMPOSITION_ERRORS) as error:
            failure.append(error)
        return
    from .report.run_table import one_line

    sweep = os.environ[SWEEP]
    name = f"{state.job.num + 1}. {' '.join(overrides)}"
    try:
        check_addons(overrides)
        folder = execute(plain(composed), choices, command, sweep)
        say(f"{name}: {one_line(json.loads((folder / 'results.json').read_text()))}")
        outcome = {"job": state.job.num, "run": str(folder)}
    except Exception as error:  # the sweep goes on; the failure is listed at its end and decides the exit code
        known = isinstance(error, (UserError, *COMPOSITION_ERRORS))
        reason = str(error) if isinstance(error, UserError) else explain(error)
        if not known:
            traceback.print_exc()
        say(f"{name}: FAILED: {reason}")
        outcome = {"job": state.job.num, "failed": reason, "overrides": overrides}
    record = sweep_folder(composed.paths.runs, sweep) / f"{state.job.num}.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(outcome))


def execute(config: dict[str, Any], choices: dict[str, str], command: str, sweep: str | None) -> Path:
    """The folder of the run, done before or done now; torch is imported only if there is something to do."""
    folder = Path(config["paths"]["runs"]) / folder_name(config, choices, run_key(config))
    if is_finished(folder) and not config["force"] and is_tracked(folder, config):
        return folder
    first = "unlearning.pipeline" not in sys.modules
    if first:  # a million objects that stay: without this a quarter of a short run goes to looking for garbage in them
        gc.disable()
    from .pipeline import run
    from .runtime.memory import keep_freed

    if first:
        gc.freeze()
        gc.enable()
    quiet()
    keep_freed()
    return run(config, choices, command, sweep)


def quiet() -> None:
    """Keep the libraries' advice off the screen; their errors still come through as exceptions."""
    import warnings

    warnings.filterwarnings("ignore", module=r"lightning|torch\.(jit|utils)|mlflow|hydra")
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)


def show(folder: Path) -> None:
    """Print the table of a finished run and where it lies."""
    from .report.run_table import run_table

    file = folder / "results.json"
    try:
        run_table(json.loads(file.read_text()))
        print(file, flush=True)
    except OSError as error:
        raise UserError(f"the table cannot be shown ({error.strerror}); its numbers are in {file}") from None


def say(line: str) -> None:
    """Print a line about a job of a sweep, which goes on where nobody can see it."""
    with suppress(OSError):
        print(line, flush=True)


def sweep_folder(runs: str, sweep: str) -> Path:
    """Where the jobs of a sweep say how they ended."""
    return Path(runs) / ".hydra" / sweep


class SweepSummary(Callback):
    """At the end of a sweep: the table over its runs, and the failures; exit code 1 if there were any."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        sweep = os.environ[SWEEP]
        try:
            failed = self.summarize(sweep_folder(str(config.paths.runs), sweep))
            if failed:
                from .config.build import build

                with suppress(UserError, *COMPOSITION_ERRORS):  # where tracking is what failed, each job has said so
                    build(OmegaConf.to_container(config.tracking, resolve=True), "tracking").fail_sweep(sweep)
        except Exception as error:  # Hydra would make a warning of it, and the exit code 0
            if not isinstance(error, (OSError, UserError)):
                traceback.print_exc()
            raise SystemExit(complain(f"no summary of the sweep: {type(error).__name__}: {error}")) from error
        if failed:
            raise SystemExit(1)

    def summarize(self, folder: Path) -> bool:
        """Print the tables over the runs of the jobs that ``folder`` tells of; whether any job failed."""
        from . import report

        outcomes = sorted((json.loads(f.read_text()) for f in folder.glob("*.json")), key=lambda found: found["job"])
        failed = [outcome for outcome in outcomes if "failed" in outcome]
        try:
            report.show([Path(outcome["run"]) for outcome in outcomes if "run" in outcome])
        finally:
            if failed:
                print(f"{len(failed)} of {len(outcomes)} runs failed:")
            for outcome in failed:
                print(f"  {' '.join(outcome['overrides'])}: {outcome['failed']}")
            sys.stdout.flush()
        return bool(failed)
