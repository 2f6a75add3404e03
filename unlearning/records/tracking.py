"""Finished runs as MLflow runs. The only file that imports mlflow, and only once a run is logged: it takes seconds."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sqlite3
import ssl
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal, TypeVar
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from filelock import FileLock

from ..errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient

V = TypeVar("V")

SQLITE = "sqlite:///"
SCHEMES = (SQLITE, "http://", "https://", "databricks", "postgresql", "mysql", "mssql")  # what runs can be logged to
PATIENCE = 20.0  # seconds to wait for a database that another program holds
NAME_LENGTH = 240  # characters; MLflow's limit is 250, and _named may add some
DIGEST_LENGTH = 36  # MLflow's limit
SWEEP_TAG = "unlearning.sweep"


class NoTracking:
    """The interface of :class:`Tracking` for who wants no MLflow."""

    def check(self) -> None:
        pass

    def log_run(self, **_run: object) -> str:
        return ""

    def fail_sweep(self, _sweep: str) -> None:
        pass


class Tracking:
    """Logs each run in one call, when it is over, so that MLflow is never inside what is timed.

    ``uri`` is ``sqlite:////absolute/path.db``, which needs no server and is created where missing, or that of a
    server (``http://host:5000``). ``artifacts`` is the folder for artifacts; None leaves the choice to the server.
    Any number of processes may log to one database. Raises :class:`UserError` for a URI that cannot work and
    for an ``experiment`` without a name.
    """

    def __init__(self, uri: str | None, experiment: str, artifacts: str | None) -> None:
        example = "tracking.uri=sqlite:////absolute/path.db or tracking.uri=http://host:5000"
        if not uri:
            raise UserError(f"tracking.uri is not set: give {example}, or set MLFLOW_TRACKING_URI")
        self.database = Path(uri.removeprefix(SQLITE).partition("?")[0]) if uri.startswith("sqlite:") else None
        if not uri.startswith(SCHEMES) or (self.database and not self.database.is_absolute()):
            wrong = _without_password(f"tracking.uri={uri}")
            raise UserError(f"{wrong} is no absolute database or server URI: give {example}")
        if not experiment.strip():
            raise UserError("tracking.experiment is empty: name it, such as tracking.experiment=unlearning")
        self.uri = uri
        self.experiment = experiment
        self.artifacts = artifacts

    def check(self) -> None:
        """Raise :class:`UserError` where nothing can be logged; it creates nothing and is made before any training."""
        try:
            if self.database is None:
                _ask(self.uri)
            elif self.database.exists():
                self._write_nothing()
            else:
                above = next(folder for folder in self.database.parents if folder.exists())
                if not above.is_dir() or not os.access(above, os.W_OK):
                    raise OSError(f"{above} is no folder that can be written to")
        except (OSError, sqlite3.Error) as error:
            where = _without_password(f"tracking.uri={self.uri} cannot be used ({error})")
            raise UserError(f"{where}: correct it, start the server, or use tracking=none") from None

    def log_run(
        self,
        *,
        name: str,
        params: Mapping[str, object],
        tags: Mapping[str, str],
        metrics: Mapping[str, float],
        curves: Mapping[str, Sequence[tuple[int, float]]],
        artifacts: Sequence[Path],
        dataset_digest: str,
        status: Literal["FINISHED", "FAILED"],
        sweep: str | None,
        started: float,
    ) -> str:
        """Log one run and return its MLflow id; a run that is done again is a new MLflow run.

        ``metrics`` are final values, logged at step 0; ``curves`` are (step, value) points; ``artifacts`` are files
        and folders; ``started`` is in seconds since the epoch. Runs of the same ``sweep`` become children of one
        parent run, which is FAILED if one of them is. In names, characters that MLflow does not permit become
        underscores. Raises :class:`UserError` if MLflow cannot be reached or written.
        """
        ended = _milliseconds(time.time())
        with _explained(self.uri):
            mlflow = _mlflow()
            from mlflow.entities import Dataset, DatasetInput, Metric, Param, RunTag

            with self._alone():
                self._ready()
                client = mlflow.MlflowClient(self.uri)
                experiment = self._experiment(client)
                parent = self._parent(client, experiment, sweep, started) if sweep else None
                kinship = {"mlflow.parentRunId": parent} if parent else {}
                run = client.create_run(experiment, _milliseconds(started), kinship, name).info.run_id
                try:
                    points = [*((key, [(0, value)]) for key, value in metrics.items()), *curves.items()]
                    client.log_batch(  # in as many requests as it takes; long values are cut
                        run,
                        [Metric(key, float(y), ended, step) for key, curve in _named(points) for step, y in curve],
                        [Param(key, str(value)) for key, value in _named(params.items())],
                        [RunTag(key, str(value)) for key, value in _named(tags.items())],
                    )
                    split = Dataset("split", dataset_digest[:DIGEST_LENGTH], source_type="local", source="{}")
                    client.log_inputs(run, [DatasetInput(split)])
                    for path in artifacts:
                        client.log_artifact(run, str(path))
                except BaseException:  # half a run must neither pass for a whole one nor seem to go on for ever
                    with suppress(Exception):
                        self._end(client, run, parent, "FAILED", ended)
                    raise
                self._end(client, run, parent, status, ended)
        return run

    def fail_sweep(self, sweep: str) -> None:
        """Mark a sweep's parent run, if it has one, as failed: for jobs that failed before they could be logged."""
        with _explained(self.uri):
            client = _mlflow().MlflowClient(self.uri)
            with self._alone():
                self._ready()
                if parent := self._find_parent(client, self._experiment(client), sweep):
                    client.set_terminated(parent, "FAILED")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep out other processes (for a server: those of this machine), so that each thing is created once."""
        if self.database:
            self.database.parent.mkdir(parents=True, exist_ok=True)
            lock = self.database.with_name(f".{self.database.name}.lock")
        else:
            server = hashlib.sha256(f"{Path.home()} {self.uri}".encode()).hexdigest()[:16]
            lock = Path(tempfile.gettempdir(), f"unlearning-{server}.lock")
        with FileLock(lock):
            yield

    def _ready(self) -> None:
        """Create the database where it is missing; notice at once if it is damaged, locked or read-only.

        MLflow itself would retry for a hundred seconds. A new one is migrated in memory, which spares the disk a
        thousand syncs, and gets its name when it is whole: migrations cannot go on where a killed process left them.
        """
        if not self.database:
            return
        if not self.database.exists() or self.database.stat().st_size == 0:
            from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

            new = self.database.with_name(f".{self.database.name}.new")
            for stale in new.parent.glob(f"{new.name}*"):
                stale.unlink()
            engine = SqlAlchemyStore(f"{SQLITE}:memory:", str(self._artifact_root())).engine
            with closing(engine.raw_connection()) as memory, closing(sqlite3.connect(new)) as file:
                memory.driver_connection.backup(file)
            engine.dispose()
            os.replace(new, self.database)
        self._write_nothing()

    def _write_nothing(self) -> None:
        """Take the database's lock for writing and give it back; an ``sqlite3.Error`` if it cannot be had."""
        with closing(sqlite3.connect(self.database, timeout=PATIENCE, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("SELECT count(*) FROM sqlite_master")
            connection.rollback()

    def _artifact_root(self) -> Path | None:
        if self.artifacts:
            return Path(self.artifacts)
        return self.database.with_name("mlruns") if self.database else None

    def _experiment(self, client: MlflowClient) -> str:
        """The id of the experiment, which is created where missing."""
        if found := client.get_experiment_by_name(self.experiment):
            return found.experiment_id
        root = self._artifact_root()
        return client.create_experiment(self.experiment, str(root / _permitted(self.experiment)) if root else None)

    def _parent(self, client: MlflowClient, experiment: str, sweep: str, started: float) -> str:
        """The id of the sweep's parent run, which is created where missing."""
        if found := self._find_parent(client, experiment, sweep):
            return found
        return client.create_run(experiment, _milliseconds(started), {SWEEP_TAG: _digest(sweep)}, sweep).info.run_id

    @staticmethod
    def _find_parent(client: MlflowClient, experiment: str, sweep: str) -> str | None:
        found = client.search_runs([experiment], f"tags.`{SWEEP_TAG}` = '{_digest(sweep)}'", max_results=1)
        return found[0].info.run_id if found else None

    @staticmethod
    def _end(client: MlflowClient, run: str, parent: str | None, status: str, ended: int) -> None:
        """End a run, and its parent, which so ends with its last child and is failed if any of them is."""
        client.set_terminated(run, status, ended)
        if parent:
            before = client.get_run(parent).info.status
            client.set_terminated(parent, "FAILED" if "FAILED" in (status, before) else "FINISHED", ended)


def _mlflow() -> ModuleType:
    """MLflow, quiet and keeping to itself; who has set these variables knows better."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # MLflow's own 7 take minutes to give up
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    import mlflow

    # importing mlflow sets up its logger, so this comes after; all errors reach us as exceptions besides
    for logger in ("mlflow", "alembic", "urllib3.connectionpool"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    return mlflow


def _named(items: Iterable[tuple[str, V]]) -> Iterator[tuple[str, V]]:
    """The same under names that MLflow permits, still all different: C+ and C# are C_ and C__."""
    taken: set[str] = set()
    for name, value in items:
        name = _permitted(name)
        while name in taken:
            name += "_"
        taken.add(name)
        yield name, value


def _permitted(name: str) -> str:
    """``name`` as MLflow's names and a path below a folder may be: no odd characters, no empty or dotted parts."""
    parts = re.sub(r"[^\w.\- /]", "_", name).split("/")
    return "/".join(part for part in parts if part not in ("", ".", ".."))[:NAME_LENGTH].rstrip("/") or "_"


def _digest(sweep: str) -> str:
    """A sweep's name without quotes to escape in a filter."""
    return hashlib.sha256(sweep.encode()).hexdigest()


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    """MLflow's, the database's, the network's and the disk's errors, as the one line that the user needs."""
    try:
        yield
    except Exception as error:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        if not isinstance(error, MlflowException | SQLAlchemyError | sqlite3.Error | OSError):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        message = f"MLflow at {uri} failed ({reason}); the results on disk are kept: check tracking.uri or use "
        raise UserError(_without_password(message) + "tracking=none") from error


def _without_password(text: str) -> str:
    return re.sub(r"//[^/@\s]*@", "//***@", text)


def _ask(uri: str) -> None:
    """Raise ``OSError`` where no server answers a web address; whatever it answers is well."""
    if not uri.startswith(("http://", "https://")):
        return
    try:
        urlopen(re.sub(r"//[^/@\s]*@", "//", uri), timeout=PATIENCE).close()
    except HTTPError:  # such as that one must log in, which MLflow's client will do
        pass
    except URLError as error:
        if not isinstance(error.reason, ssl.SSLError):  # it is there; how certificates are checked is MLflow's matter
            raise OSError(error.reason) from None
