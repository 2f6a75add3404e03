"""Finished runs as MLflow runs. MLflow is imported only when a run is logged, since importing it takes seconds."""

from __future__ import annotations

import hashlib
import re
import sqlite3
import ssl
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Protocol
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from filelock import FileLock

from ..errors import UserError
from ..runtime.interrupts import interrupted
from ..runtime.secrets import redacted
from . import sqlite_database
from .drivers import check_driver
from .mlflow_client import (
    SWEEP_TAG,
    describe,
    digest,
    end,
    fill,
    find_parent,
    first_tags,
    imported_mlflow,
    milliseconds,
    permitted,
    settle,
)
from .names import WEIGHTS
from .tracked import TrackedRun, TrackedSweep

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"
SCHEMES = (SQLITE, "http://", "https://", "databricks", "postgresql", "mysql", "mssql")  # what runs can be logged to
PATIENCE = 20.0  # seconds to wait for a server
EXAMPLE = "tracking.uri=sqlite:////absolute/path.db or tracking.uri=http://host:5000"


class Tracker(Protocol):
    """Something that finished runs are logged to."""

    def check(self) -> None:
        """Raise ``UserError`` where nothing can be logged. Creates nothing; called before any training."""

    def log_run(self, run: TrackedRun) -> str:
        """Log one run and return its id."""

    def end_sweep(self, sweep: TrackedSweep) -> None:
        """Log what is known when all jobs of a sweep are over; jobs may have failed before they could be logged."""


class NoTracking:
    """Null object with the interface of :class:`Tracking`; logs nothing."""

    def check(self) -> None:
        pass

    def log_run(self, run: TrackedRun) -> str:
        return ""

    def end_sweep(self, sweep: TrackedSweep) -> None:
        pass


class Tracking:
    """Logs each run in one call, when it is over, so that MLflow is never inside what is timed.

    Any number of processes may log to one database. Raises :class:`UserError` for a URI that cannot work and for an
    ``experiment`` without a name.

    Args:
        uri: ``sqlite:////absolute/path.db``, which needs no server and is created where missing, or the URI of a server
            (``http://host:5000``).
        experiment: name of the MLflow experiment.
        artifacts: folder for artifacts; None leaves the choice to the server.
        weights: whether the unlearned weights, which are in the run's folder, are artifacts, too.
    """

    def __init__(self, uri: str | None, experiment: str, artifacts: str | None, weights: bool = False) -> None:
        if not uri:
            raise UserError(
                f"tracking.uri is not set: give {EXAMPLE}, or set MLFLOW_TRACKING_URI",
                key="tracking.uri",
                kind="missing",
            )
        wrong = redacted(f"tracking.uri={uri}", uri)
        self.database = Path(uri.removeprefix(SQLITE).partition("?")[0]) if uri.startswith("sqlite:") else None
        if not uri.startswith(SCHEMES) or (self.database and not self.database.is_absolute()):
            raise UserError(
                f"{wrong} is neither an absolute database path nor the URI of a server: give {EXAMPLE}",
                key="tracking.uri",
            )
        if not experiment.strip():
            raise UserError(
                "tracking.experiment is empty: name it, for example tracking.experiment=unlearning",
                key="tracking.experiment",
            )
        try:  # what a link points to is the database
            self.database = self.database and self.database.resolve()
        except (OSError, RuntimeError):
            raise UserError(
                f"{wrong} is a link that leads nowhere: give {EXAMPLE}", key="tracking.uri", kind="file"
            ) from None
        self.uri, self.experiment = uri, experiment
        self.artifacts = artifacts
        self.weights = weights

    def check(self) -> None:
        """Raise :class:`UserError` where nothing can be logged. Creates nothing; called before any training."""
        try:
            if self.database is None:
                check_driver(self.uri)
                ask(self.uri)
            elif sqlite_database.is_missing(self.database):
                sqlite_database.check_creatable(self.database)
            else:
                sqlite_database.check_writable(self.database)
        except (OSError, sqlite3.Error) as error:
            where = redacted(f"tracking.uri={self.uri} cannot be used ({error})", self.uri)
            raise UserError(
                f"{where}: correct it, start the server, or use tracking=none", key="tracking.uri", kind="storage"
            ) from None

    def log_run(self, run: TrackedRun) -> str:
        """Log one run and return its MLflow id; a run that is made again is another MLflow run.

        The parent run of a sweep is FAILED if one of its runs is. In names, characters that MLflow does not permit
        become underscores. Raises :class:`UserError` if MLflow cannot be reached or written to.
        """
        ended = milliseconds(time.time())
        with explained(self.uri):
            mlflow = imported_mlflow()
            with self.alone():
                client = self.client(mlflow)
                experiment = self.experiment_id(client)
                parent = self.parent_of(client, experiment, run.sweep, run.started) if run.sweep else None
                if known := settle(client, experiment, run):
                    return known
                own = first_tags(run, experiment, parent)
                made = client.create_run(experiment, milliseconds(run.started), own, run.name).info.run_id
                try:
                    fill(client, made, run, ended, [file for file in run.artifacts if self.keeps(file)])
                except BaseException as error:  # half a run must not pass for a whole one, nor seem to go on for ever
                    with suppress(Exception):
                        end(client, made, parent, "KILLED" if interrupted(error) else "FAILED", ended)
                    raise
                end(client, made, parent, run.status, ended)
        return made

    def end_sweep(self, sweep: TrackedSweep) -> None:
        """Complete the parent run of a sweep, and log the means over seeds as its children.

        There is no parent where no job could be logged.
        """
        with explained(self.uri):
            mlflow = imported_mlflow()
            with self.alone():
                client = self.client(mlflow)
                experiment = self.experiment_id(client)
                parent = find_parent(client, experiment, sweep.name)
                if parent is None and not sweep.runs:
                    return
                parent = parent or self.parent_of(client, experiment, sweep.name, time.time())
                describe(client, experiment, parent, sweep)
                client.set_terminated(parent, sweep.status)
        for mean in sweep.means:
            self.log_run(mean)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep out other processes (for a server: those of this machine), so that each thing is created once."""
        if self.database:
            self.database.parent.mkdir(parents=True, exist_ok=True)
            lock = self.database.with_name(f".{self.database.name}.lock")
        else:
            server = hashlib.sha256(f"{Path.home()} {self.uri}".encode()).hexdigest()[:16]
            lock = Path(tempfile.gettempdir(), f"unlearning-{server}.lock")
        with FileLock(lock):
            yield

    def keeps(self, file: Path) -> bool:
        """Whether a file of a run becomes an artifact."""
        return self.weights or file.name != WEIGHTS

    def client(self, mlflow: ModuleType) -> MlflowClient:
        """A client whose database exists and can be written to."""
        if self.database:
            sqlite_database.ensure(self.database)
        client: MlflowClient = mlflow.MlflowClient(self.uri)
        return client

    def experiment_id(self, client: MlflowClient) -> str:
        """The id of the experiment, which is created where missing."""
        if found := client.get_experiment_by_name(self.experiment):
            return str(found.experiment_id)
        root = Path(self.artifacts) if self.artifacts else self.database and self.database.with_name("mlruns")
        return str(client.create_experiment(self.experiment, str(root / permitted(self.experiment)) if root else None))

    def parent_of(self, client: MlflowClient, experiment: str, sweep: str, started: float) -> str:
        """The id of the parent run of a sweep, which is created where missing; ``started`` is in seconds."""
        if found := find_parent(client, experiment, sweep):
            return found
        made = str(client.create_run(experiment, milliseconds(started), {SWEEP_TAG: digest(sweep)}, sweep).info.run_id)
        client.set_terminated(made, "FINISHED")  # at once, since a process that is killed could not; its runs change it
        return made


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turn errors of MLflow, the database, the network and the disk into one-line UserErrors."""
    try:
        yield
    except Exception as error:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        if not isinstance(error, MlflowException | SQLAlchemyError | sqlite3.Error | OSError):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        where = redacted(f"MLflow at {uri} failed ({reason})", uri)
        raise UserError(
            f"{where}; the results on disk are kept: check tracking.uri or use tracking=none",
            key="tracking.uri",
            kind="storage",
        ) from error


def ask(uri: str) -> None:
    """Raise ``OSError`` unless a web server answers; any HTTP response, including an error, counts as reachable."""
    if not uri.startswith(("http://", "https://")):
        return
    try:
        urlopen(re.sub(r"//[^/@\s]*@", "//", uri), timeout=PATIENCE).close()
    except HTTPError:  # such as a request to log in, which MLflow's client will answer
        pass
    except URLError as error:
        if not isinstance(error.reason, ssl.SSLError):  # the server is there; MLflow decides how to check certificates
            raise OSError(error.reason) from None
