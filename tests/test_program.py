"""How the command lines of the package begin and end, as processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import ROOT, start
from tests.finished import result, write_finished
from unlearning import __version__
from unlearning.errors import UserError
from unlearning.records.drivers import check_driver
from unlearning.runtime.program import GONE, guarded

PROGRAMS = ("report", "store", "verify", "populations", "records.ui", "config.catalogue", "report.leaderboard")


def python(*words: str, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, **options
    )


def test_a_reader_that_leaves_ends_the_program_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    def leave() -> int:
        raise BrokenPipeError

    def rich_leaves() -> int:  # it makes an exit of it
        try:
            return leave()
        except BrokenPipeError:
            raise SystemExit(1)  # noqa: B904

    assert guarded(leave) == guarded(rich_leaves) == GONE == 141
    assert capsys.readouterr() == ("", "")


def test_a_folder_that_is_gone_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (gone := tmp_path / "gone").mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert guarded(lambda: 0) == 1
    assert capsys.readouterr().err.startswith("error: the current folder does not exist")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("mssql+pymssql://me:secret@host/db", "missing"),
        ("postgresql+nobody://me:secret@host/db", "value"),
        ("postgresql+psycopg2://me:secret@host:port/db", "value"),
        ("postgresql:me:secret", "value"),
    ],
)
def test_a_driver_that_is_not_there_is_named_before_training(uri: str, kind: str) -> None:
    with pytest.raises(UserError) as caught:
        check_driver(uri)
    assert (caught.value.key, caught.value.kind) == ("tracking.uri", kind)
    assert "://me:secret" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_has_the_version_of_the_package(name: str) -> None:
    out, err = python("-m", f"unlearning.{name}", "--version").communicate(timeout=60)
    assert (out, err) == (f"unlearning {__version__}\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_screen_without_arrows_shows_the_rest(encoding: str, tmp_path: Path) -> None:
    words = ("tracking=none", "debug=fast", "method=finetune", f"paths.root={tmp_path}")
    process = start(*words, PYTHONIOENCODING=encoding)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    assert "forget/acc" in out
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    process = python("-m", "unlearning.report", str(tmp_path / "multirun"), env=environment)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


@pytest.mark.slow
def test_a_report_into_head_is_quiet(tmp_path: Path) -> None:
    for number in range(400):  # more than a pipe holds
        write_finished(tmp_path, result(seed=number, method=f"method_{number}"))
    process = python("-m", "unlearning.report", str(tmp_path), "--out", str(tmp_path / "out"))
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=60) == GONE


def test_help_and_mistakes_of_a_command_line_do_not_wait_for_torch() -> None:
    names = ("difficulty", "verify", "store", "populations", "report", "requests", "tune")
    code = (
        f"import sys; [__import__(f'unlearning.{{name}}.command') for name in {names}]; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
