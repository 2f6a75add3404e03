"""MLflow with PostgreSQL behind it: many writers, a server that stops in the middle, and what is logged afterwards."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.test_push import runs as finished_runs
from unlearning.records.tracking import ask

pytestmark = pytest.mark.slow
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
WRITERS, RUNS = 16, 40


class Server:
    """An MLflow server on a PostgreSQL database, which can be stopped and started."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as a, socket.socket() as b:
            a.bind(("127.0.0.1", 0))
            b.bind(("127.0.0.1", 0))
            self.port, database = a.getsockname()[1], b.getsockname()[1]
        self.folder, self.uri = folder, f"http://127.0.0.1:{self.port}"
        self.backend = f"postgresql://postgres@127.0.0.1:{database}/postgres"
        self.user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self.user:
            shutil.chown(folder, "postgres")
        self.control("initdb", "-U", "postgres", "-A", "trust", "-D", str(folder / "data"))
        self.options = f"-p {database} -k {folder}"
        self.process: subprocess.Popen[bytes] | None = None

    def control(self, program: str, *words: str) -> None:
        """Run one of PostgreSQL's programs, as its user."""
        command = [*self.user, str(PROGRAMS[-1] / program), *words]
        subprocess.run(command, check=True, cwd=self.folder, stdout=subprocess.DEVNULL, timeout=120)

    def start(self) -> None:
        """Start both, and wait until MLflow answers."""
        data = str(self.folder / "data")
        self.control("pg_ctl", "start", "-w", "-D", data, "-o", self.options, "-l", str(self.folder / "log"))
        serve = ["server", "--backend-store-uri", self.backend, "--port", str(self.port), "--workers", "1"]
        serve += ["--serve-artifacts", "--artifacts-destination", str(self.folder.parent / "artifacts")]
        quiet = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder.parent / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", *serve], stdout=log, stderr=log, env=quiet, start_new_session=True
            )
        for _ in range(240):
            try:
                return ask(self.uri)
            except OSError:
                time.sleep(0.5)
        raise AssertionError((self.folder.parent / "server.log").read_text()[-2000:])

    def stop(self) -> None:
        """Stop both at once, whatever they are doing."""
        if self.process is not None:
            os.killpg(self.process.pid, 9)
            self.process.wait()
            self.process = None
            self.control("pg_ctl", "stop", "-m", "immediate", "-D", str(self.folder / "data"))


@pytest.fixture
def server() -> Iterator[Server]:
    pytest.importorskip("psycopg")
    if not PROGRAMS:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with tempfile.TemporaryDirectory() as place:  # the database's user has no way into pytest's folders
        Path(place).chmod(0o755)
        folder = Path(place) / "database"
        folder.mkdir()
        made = Server(folder)
        try:
            made.start()
            yield made
        finally:
            made.stop()


def test_each_run_is_logged_once_though_the_server_stops_in_the_middle(server: Server, tmp_path: Path) -> None:
    runs = finished_runs(tmp_path / "runs", RUNS)
    command = [sys.executable, "-m", "unlearning.records", "push", f"paths.runs={runs}", "tracking=server"]
    command.append(f"tracking.uri={server.uri}")

    def writer() -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=ROOT, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, **pipes)

    writers = [writer() for _ in range(WRITERS)]
    while not list(runs.glob("*/TRACKED")):
        time.sleep(0.2)
        assert any(one.poll() is None for one in writers), [one.communicate() for one in writers]
    server.stop()
    ended = [(*one.communicate(timeout=600), one.returncode) for one in writers]
    assert {code for *_, code in ended} == {1}
    for _, error, _ in ended:
        *waiting, line = filter(str.strip, error.splitlines())
        assert all(told.startswith("waiting for ") for told in waiting), error
        assert line.startswith("records: ")
        assert server.uri in line
    before = len(list(runs.glob("*/TRACKED")))
    assert 0 < before < RUNS
    server.start()
    again = [writer() for _ in range(2)]
    outs = [one.communicate(timeout=600) for one in again]
    assert [one.returncode for one in again] == [0, 0], outs
    assert sum(int(out.split()[1]) for out, _ in outs) == RUNS - before

    from mlflow import MlflowClient

    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name("unlearning")
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    by_status = Counter(run.info.status for run in found)
    assert by_status["FINISHED"] == len({run.data.tags["run_key"] for run in found}) == RUNS
    assert by_status["RUNNING"] == 0
    whole = next(run for run in found if run.info.status == "FINISHED")
    assert {file.path for file in client.list_artifacts(whole.info.run_id)} == {"results.json"}
