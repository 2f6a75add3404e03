"""The folder of a run: begun, filled, and marked as done or failed. Imports no torch until there is a result to write.

A folder is never half a result: its files are whole at any moment, and ``DONE`` is written after all of the result.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..runtime.digests import file_digest
from ..runtime.interrupts import held, interrupted
from ..runtime.secrets import redacted
from ..runtime.shared_files import exclusive, write_atomic
from . import tracked
from .card import model_card
from .names import CARD, CURVES, DONE, FAILED, LOG, PROVENANCE, REFERENCES, RESULTS, SUMMARY, TRACKED
from .notes import destroyed, notes
from .provenance import provenance
from .verdict import verdict

if TYPE_CHECKING:
    from ..engine.evaluation import Result
    from ..request import Request
    from .tracking import Tracker

PLACE = "paths.runs"  # the setting that says where runs are
IN_FILES_OF_THEIR_OWN = ("curves", "evidence", "dataset", "naming")  # fields of a result
EXPLAINS = ("key", "differs")  # in the provenance alone

log = logging.getLogger(__name__)


def begin(request: Request, held: ExitStack) -> bool:
    """Lock the run's folder until ``held`` closes, and return whether its result can be used as it is."""
    folder = request.folder
    held.enter_context(exclusive(folder, PLACE))
    finished = is_finished(request)
    if (folder / DONE).exists() and not finished:
        log.warning("%s does not hold the results or figures of this run: it is made again", folder / RESULTS)
    return finished and not request.config["force"]


def clear(request: Request) -> None:
    """Leave the provenance alone in the folder: what an unfinished or superseded run left is removed."""
    folder = request.folder
    content = json.dumps(provenance(request), indent=1)  # while the folders of earlier runs are as they were
    (folder / DONE).unlink(missing_ok=True)  # first, so that a folder being removed does not pass for a result
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise UserError(
            f"cannot make the run folder {folder}: {error.strerror}; set {PLACE}=DIR", key=PLACE, kind="storage"
        ) from None
    write(folder, PROVENANCE, content)


def finish(request: Request, result: Result, tracker: Tracker, started: float) -> None:
    """Write the result of a run, log it to the tracker, and mark the run as done, last.

    ``started`` is in seconds since the epoch.
    """
    from .artefacts import contents

    folder = request.folder
    files = {}
    for name, content in contents(result, request.figures):
        files[name] = hashlib.sha256(content).hexdigest()
        if not linked(folder, name, content):
            write(folder, name, content)
    about = {name: value for name, value in read(folder, PROVENANCE).items() if name not in EXPLAINS}
    found = {field.name: getattr(result, field.name) for field in fields(result)}
    results = about | {name: value for name, value in found.items() if name not in IN_FILES_OF_THEIR_OWN}
    results |= {"files": files, "notes": notes(request, result), "checkpoint": result.naming.about}
    results |= {"seconds": time.time() - started, "warning": " ".join(destroyed(request, result))}
    results |= {"verdict": verdict(results)}
    write(folder, CARD, model_card(results))
    write(folder, CURVES, json.dumps(result.curves))
    files |= {name: file_digest(folder / name) for name in (CARD, CURVES, PROVENANCE)}  # what a signature covers
    write(folder, RESULTS, json.dumps(results, indent=1, default=dict))
    log.info("written: %s", folder)
    with held():  # whether or not the tracker takes the results, they are whole; a killed process logs them later
        write(folder, DONE, "")
        track(folder, results, result.curves, tracker, request.config["tracking"], request.sweep)


def fail(request: Request, error: BaseException, tracker: Tracker, started: float) -> None:
    """Mark the run as failed, with the reason; of what it wrote, provenance and log stay.

    An interrupt is no failure, and leaves no mark. A result that is whole stays, whatever happened afterwards.
    """
    folder, stopped = request.folder, interrupted(error)
    if (folder / DONE).exists():
        return
    why = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}".rstrip(": ")
    reason = redacted(why, str(request.config["tracking"].get("uri") or ""))
    try:
        for path in folder.iterdir():
            if path.name not in (PROVENANCE, LOG):
                path.unlink()
        if not stopped:
            write(folder, FAILED, reason + "\n")
            tracker.log_run(tracked.failed(folder, read(folder, PROVENANCE), reason, started, request.sweep))
    except (UserError, OSError) as second:  # the first error is the one to be told
        log.warning("the failure could not be recorded: %s", second)


def draw(request: Request) -> None:
    """Draw the summary of a finished run where it is asked for and missing, as in a job of a sweep."""
    file = request.folder / f"{SUMMARY}.png"
    if SUMMARY in request.figures and not file.exists():
        from .drawn import summary_of

        with suppress(OSError, KeyError, ValueError, StopIteration):  # a run without figures is a run
            write(request.folder, file.name, summary_of(request.folder))


def catch_up(request: Request, tracker: Tracker) -> None:
    """Log a finished run to a destination that lacks it: the run was made without tracking, or for another server."""
    draw(request)
    log_finished(request.folder, tracker, request.config["tracking"], request.sweep)


def log_finished(folder: Path, tracker: Tracker, tracking: Mapping[str, Any], sweep: str | None = None) -> bool:
    """Log the finished run of a folder where ``tracking`` says, and return whether it was not logged there before.

    The caller keeps other processes out.
    """
    if destination(tracking) in {"", *logged(folder)}:
        return False
    track(folder, read(folder, RESULTS), read(folder, CURVES), tracker, tracking, sweep)
    return True


def track(
    folder: Path,
    results: Mapping[str, Any],
    curves: tracked.Curves,
    tracker: Tracker,
    tracking: Mapping[str, Any],
    sweep: str | None,
) -> None:
    """Log a whole run, and note where; an interrupt waits until both is done."""
    started = datetime.fromisoformat(read(folder, PROVENANCE)["started"]).timestamp()
    with held():
        made = tracker.log_run(tracked.finished(folder, results, curves, started, sweep))
        if where := destination(tracking):
            file = folder / TRACKED
            before = file.read_text() if file.exists() else ""
            write(folder, TRACKED, f"{before}{where} {made}\n")


def is_finished(request: Request) -> bool:
    """Whether the run's folder has a DONE marker, results that can be read and are of this run, and its figures.

    The name of a folder does not show that: it holds a part of the key, and folders can be renamed.
    """
    try:
        if not (request.folder / DONE).exists():
            return False
        results = read(request.folder, RESULTS)
        wanted = {*request.figures} - {SUMMARY}  # which is drawn later, too
        drawn = not wanted or wanted <= {*results["config"].get("figures", ())}
        return drawn and results["run_key"] == request.key.digest
    except (OSError, ValueError, KeyError, TypeError):
        return False


def is_tracked(request: Request) -> bool:
    """Whether a finished run has been logged where the request says; nothing is missing where nothing is tracked."""
    where = destination(request.config["tracking"])
    return not where or where in logged(request.folder)


def logged(folder: Path) -> dict[str, str]:
    """The id under which a finished run was logged, by destination."""
    file = folder / TRACKED
    lines = file.read_text().splitlines() if file.exists() else []
    return {where: made for where, _, made in (line.partition(" ") for line in lines)}


def destination(tracking: Mapping[str, Any]) -> str:
    """A digest of where runs are logged (a URI may hold a password); empty where nothing is tracked."""
    where = [tracking[name] for name in ("uri", "experiment", "logger") if tracking.get(name)]
    return hashlib.sha256(json.dumps(where).encode()).hexdigest()[:16] if where else ""


def write(folder: Path, name: str, content: str | bytes) -> None:
    """Write a file of the run, whole or not at all."""
    write_atomic(folder / name, content if isinstance(content, bytes) else content.encode(), PLACE)


def linked(folder: Path, name: str, content: bytes) -> bool:
    """Whether a file is in the folder now as a link to that of another run: those of references are large.

    Their names hold a digest. Each folder stays whole, whichever of them is removed, moved or copied.
    """
    for other in folder.parent.glob(f"*/{name}") if name.startswith(REFERENCES) else ():
        with suppress(OSError):  # it was just removed, or the disk has no links
            if other.read_bytes() == content:
                os.link(other, folder / name)
                return True
    return False


def read(folder: Path, name: str) -> Any:
    """A JSON file of the run."""
    return json.loads((folder / name).read_text())
