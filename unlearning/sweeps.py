"""Many runs of one command line: its jobs, what each leaves behind, and the table over all of them."""

from __future__ import annotations

import json
import os
import sys
import traceback
import uuid
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from .config.arguments import Arguments
from .config.build import Spec
from .config.compose import composed as compose_job
from .config.compose import resolved
from .config.groups import NODES
from .config.launch import launched
from .config.messages import COMPOSITION_ERRORS, explained
from .config.tables import Row, decided, folders_of, value_at
from .errors import UserError
from .records.folder import PLACE, catch_up, draw, is_finished, is_tracked
from .records.tracked import Status
from .report.command import show_runs
from .report.run_table import one_line
from .report.tracked_sweep import track
from .request import Request, command_line, in_first_process
from .runtime.interrupts import interrupted
from .runtime.memory import keep_freed, permanent
from .runtime.secrets import redacted
from .runtime.shared_files import exclusive

SWEEP = "UNLEARNING_SWEEP"  # names the sweep for its jobs, wherever a launcher runs them
SHARED = "UNLEARNING_SHARED"  # a list of the settings that all of its jobs have
COMMAND = "UNLEARNING_COMMAND"  # the command line of the sweep, of which Hydra knows what it was made into


def run_sweep(arguments: Arguments, root: Path | None) -> int:
    """Run every job of a sweep; the exit code is 0 only if all succeeded.

    Raises ``UserError``, before any run, for a job that does not compose.
    """
    os.environ[SWEEP] = uuid.uuid4().hex[:12]
    os.environ[COMMAND] = command_line(arguments.settings, "-m")
    try:
        launched(job, arguments._replace(settings=[for_each_job(setting) for setting in arguments.settings]), root)
    except UserError:
        failing = first_that_fails(arguments, root)
        if failing is None:
            raise
        overrides, reason = failing
        raise UserError(
            f"no run was started, because of {' '.join(overrides)}: {reason}", key=reason.key, kind=reason.kind
        ) from None
    except OSError as error:  # a job catches its own
        raise UserError(
            f"cannot write the sweep's records ({error}): set paths.runs=DIR", key="paths.runs", kind="storage"
        ) from None
    except SystemExit as ended:  # the summary's
        return int(ended.code or 0)
    return 0


def for_each_job(setting: str) -> str:
    """A setting of a sweep; one within a group becomes a sweep over its one value, so that only the jobs get it.

    Hydra composes a configuration for the sweep itself from what is not swept. A group that is swept has its default
    choice there, which need not have the keys of the others.
    """
    parser = OverridesParser.create()
    try:
        override = parser.parse_override(setting)
    except COMPOSITION_ERRORS:  # Hydra reports it
        return setting
    group, dot, _ = str(override.key_or_group).partition(".")
    inside = dot and group in NODES and group != "tracking"  # the sweep's summary needs those of tracking
    if not inside or override.is_sweep_override() or override.is_delete():
        return setting
    key, _, value = setting.partition("=")
    swept = f"{key}=choice({value})"
    with suppress(*COMPOSITION_ERRORS):
        for written in parser.parse_override(swept).sweep_string_iterator():
            parser.parse_override(f"{key}={written}")
        return swept
    if value[:1] in ("'", '"'):  # choice() drops the quotes, which signs such as > need
        return f"{setting},{value}"  # of equal jobs one is run
    return setting  # null, which choice() does not take


def first_that_fails(arguments: Arguments, root: Path | None) -> tuple[list[str], UserError] | None:
    """The overrides of the first job that does not compose, and why: Hydra does not report which one it was."""
    from hydra_plugins.unlearning.alternatives import jobs_of

    with suppress(*COMPOSITION_ERRORS, UserError):
        for overrides in jobs_of([*arguments.settings, *arguments.search]):
            try:
                compose_job(*overrides, *arguments.search, root=root)
            except UserError as error:
                return overrides, error
    return None


def shared_by_all(config: DictConfig) -> list[str]:
    """The settings that every job of a sweep has, without globs; ``config`` is that of the sweep itself."""
    from hydra_plugins.unlearning.alternatives import points, written

    parser = OverridesParser.create()
    settings = [*written(config.hydra.sweeper.get("params") or {}), *config.hydra.overrides.task]
    found: list[str] = []
    for setting in settings:
        with suppress(*COMPOSITION_ERRORS):
            values = list(points(parser.parse_overrides([setting])))
            found += values[0] if len(values) == 1 else []
    return found


def request_of(composed: DictConfig, sweep: str | None = None) -> Request:
    """The request of a composed configuration. Raises ``UserError`` if it is invalid."""
    state = HydraConfig.get()
    overrides = list(state.overrides.task)
    config, choices = resolved(composed, state.runtime.choices, overrides)
    folders = folders_of((source.schema, source.path) for source in state.runtime.config_sources)
    request = Request(config, choices, overrides, sweep, applied(decided(config, choices, overrides, folders)))
    request.check()
    return request


def applied(decided: Mapping[str, Row]) -> list[dict[str, Any]]:
    """The rows of the settings' tables that decided something, in order, each with its settings and its reason."""
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for setting, row in decided.items():
        entry = {"table": f"{row.table}, row {row.number}", "why": row.why, "when": dict(row.when), "set": {}}
        value = value_at(row.set, setting.partition(".")[2])
        rows.setdefault((row.table, row.number), entry)["set"][setting] = value
    return [rows[place] for place in sorted(rows)]


def execute(request: Request) -> Path:
    """Make a run, unless it is finished already, and return its folder; torch is imported only if it is needed."""
    if is_finished(request) and not request.config["force"]:
        if in_first_process() and not is_tracked(request):
            with exclusive(request.folder, PLACE):
                catch_up(request, Spec("tracking", request.config["tracking"]).build())
        draw(request)
        if request.verbose:
            print(f"found: {request.folder}", file=sys.stderr)
        return request.folder
    with nullcontext() if "unlearning.pipeline" in sys.modules else permanent():
        import torch

        from .pipeline import run
    keep_freed()
    torch.set_num_threads(request.config["trainer"]["threads"])
    return run(request)


def job(composed: DictConfig) -> None:
    """Do one job of a sweep and record how it ended; the sweep goes on past a failure."""
    state, sweep = HydraConfig.get(), os.environ[SWEEP]
    shared = json.loads(os.environ[SHARED])
    overrides = [redacted(setting) for setting in state.overrides.task if setting not in shared]
    name = " ".join([f"{state.job.num + 1}.", *overrides])
    outcome: dict[str, Any] = {"job": state.job.num}
    try:
        folder = execute(request_of(composed, sweep))
        results = json.loads((folder / "results.json").read_text())
        lines = [one_line(results), *(f"note: {note}" for note in results["notes"])]
        outcome["run"] = str(folder)
    except Exception as error:  # the failure is listed at the end and decides the exit code
        if interrupted():
            raise KeyboardInterrupt from None  # whatever a library made of it
        if isinstance(error, (UserError, *COMPOSITION_ERRORS)):
            reason = str(explained(error))
        else:
            print(redacted(traceback.format_exc()), file=sys.stderr)
            reason = f"{type(error).__name__}: {error}"
        reason = redacted(" ".join(reason.split()))
        lines = [f"FAILED: {reason}"]
        outcome |= {"failed": reason, "overrides": overrides}
    (place := records_folder(composed.paths.runs, sweep)).mkdir(parents=True, exist_ok=True)
    (place / f"{state.job.num}.json").write_text(json.dumps(outcome))  # first: an interrupt may follow at once
    for line in lines:
        say(f"{name}: {line}")


def say(line: str) -> None:
    """Print a line about a job; a closed screen does not stop the sweep."""
    with suppress(OSError):
        print(line, flush=True)


def records_folder(runs: str, sweep: str) -> Path:
    """The folder in which the jobs of a sweep record how they ended."""
    return Path(runs) / ".hydra" / sweep


class SweepSummary(Callback):
    """Prints the tables over the runs of a sweep at its end, and the failures; exit code 1 if there were any.

    Before its first job it notes what the jobs share, so that their lines say only how they differ.
    """

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        os.environ[SHARED] = json.dumps(shared_by_all(config))

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        sweep = os.environ.get(SWEEP, "")
        try:
            folder = records_folder(str(config.paths.runs), sweep)
            outcomes = sorted((json.loads(f.read_text()) for f in folder.glob("*.json")), key=lambda one: one["job"])
            done = [Path(outcome["run"]) for outcome in outcomes if "run" in outcome]
            failed = len(done) < len(outcomes)
            self.summarize(outcomes, done)
            with suppress(UserError, *COMPOSITION_ERRORS):  # where tracking is what failed, each job has said so
                status: Status = "KILLED" if interrupted() else "FAILED" if failed else "FINISHED"
                tracking: Any = OmegaConf.to_container(config.tracking, resolve=True)
                track(sweep, os.environ[COMMAND], status, done, tracking)
        except Exception as error:  # Hydra would make a warning of it, and the exit code 0
            if not isinstance(error, (OSError, UserError)):
                print(redacted(traceback.format_exc()), file=sys.stderr)
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            print(f"error: no summary of the sweep: {redacted(reason)}", file=sys.stderr)
            raise SystemExit(1) from error
        if interrupted():
            raise KeyboardInterrupt
        if failed:
            raise SystemExit(1)

    def summarize(self, outcomes: Sequence[Mapping[str, Any]], done: list[Path]) -> None:
        """Print the tables over the folders of the runs that are ``done``, and the jobs that failed."""
        failed = [outcome for outcome in outcomes if "failed" in outcome]
        try:
            show_runs(done)
        finally:
            if failed:
                print(f"{len(failed)} of {len(outcomes)} runs failed:")
            for outcome in failed:
                print(f"  {' '.join(outcome['overrides'])}: {outcome['failed']}")
            sys.stdout.flush()
