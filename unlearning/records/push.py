"""Log finished runs that a tracker lacks: those made while its server was down, without tracking, or for another one.

  python -m unlearning.records push
  python -m unlearning.records push tracking=server tracking.uri=http://host:5000
  python -m unlearning.records push paths.runs=DIR tracking=csv

It takes the settings of a run that say where runs are (paths.runs) and where they are logged (tracking). What was
logged there before is not logged again; the same command goes on where it was stopped. Runs that are pushed have no
sweep as a parent. Failed runs are not pushed.

exit code: 0 where all runs are logged now, 1 otherwise
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from ..config.build import Spec
from ..config.compose import composed
from ..errors import UserError
from ..runtime.shared_files import exclusive
from . import folder as records
from .names import DONE
from .tracking import NoTracking, Tracker

ACTION = "push"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    if words[:1] != [ACTION]:
        print(f"usage: python -m unlearning.records {ACTION} [SETTING=VALUE ...]; --help explains", file=sys.stderr)
        return 2
    try:
        config, _ = composed(*words[1:])
        return push(config)
    except UserError as error:
        print(f"records: {' '.join(str(error).split())}", file=sys.stderr)
        return 1


def push(config: dict[str, Any]) -> int:
    """Log the runs below ``paths.runs`` where ``tracking`` says, and say how many; returns the exit code.

    A run that cannot be read is named, and the others are logged. Raises ``UserError`` where nothing can be logged.
    """
    runs = Path(config["paths"]["runs"])
    tracker: Tracker = Spec("tracking", config["tracking"]).build()
    if isinstance(tracker, NoTracking):
        raise UserError("tracking=none logs nothing: choose another, such as tracking=sqlite", key="tracking")
    tracker.check()
    folders = sorted(done.parent for done in runs.glob(f"*/{DONE}"))
    if not folders:
        raise UserError(f"there are no finished runs in {runs}: set paths.runs=DIR", key="paths.runs", kind="file")
    logged, damaged = 0, 0
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for folder in progress.track(folders, description="logging"):
            with exclusive(folder, records.PLACE):
                try:
                    logged += records.log_finished(folder, tracker, config["tracking"])
                except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                    damaged += 1
                    progress.print(
                        f"not logged: {folder} is damaged ({type(error).__name__}: {error})",
                        markup=False,
                        soft_wrap=True,
                    )
    print(f"logged {logged} of {len(folders)} finished runs; {len(folders) - logged - damaged} were there before")
    return int(damaged > 0)
