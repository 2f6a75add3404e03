"""MLflow's pages on the runs: ``python -m unlearning.records.ui --uri URI --port PORT``, which is ``make ui``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from ..errors import UserError
from ..runtime.program import program
from ..runtime.secrets import redacted
from .mlflow_client import imported_mlflow
from .tracking import explained


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Print where the runs are shown and how to compare them, and serve the pages until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m unlearning.records.ui", description=__doc__)
    parser.add_argument("--uri", required=True, help="the database or server that the runs were logged to")
    parser.add_argument("--port", default="5000")
    parser.add_argument("--experiment", default="unlearning", help="as in tracking.experiment")
    given = parser.parse_args(argv)
    try:
        print(address(given.uri, given.port, given.experiment), flush=True)
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
    os.environ["MLFLOW_BACKEND_STORE_URI"] = given.uri  # not among the arguments, which all users of the machine see
    command = [sys.executable, "-m", "mlflow", "ui", "--port", given.port]
    os.execv(sys.executable, command)  # with telemetry off, by the environment that the import has set


def address(uri: str, port: str, experiment: str) -> str:
    """Where the pages will be, and what to do there.

    MLflow's plain address shows traces, of which there are none. Raises ``UserError`` where there is no experiment of
    that name.
    """
    with explained(uri):
        found = imported_mlflow().MlflowClient(uri).get_experiment_by_name(experiment)
    if found is None:
        raise UserError(
            f"{redacted(uri)} has no experiment {experiment}: make a run first, or name another with --experiment"
        )
    return (
        f"Runs: http://127.0.0.1:{port}/#/experiments/{found.experiment_id}/runs\n"
        'To compare methods: "Group by", then "method"; to compare runs: tick them, then "Compare".'
    )


if __name__ == "__main__":
    program(main)
