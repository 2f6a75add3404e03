"""No password, token or query of a tracking URI is written or said."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import FAST, Done, runs
from unlearning.errors import UserError
from unlearning.records.tracking import Tracking
from unlearning.runtime.secrets import masked, redacted
from unlearning.sweeps import command_line

URI = "https://mel:s3c/r%40t@pw@host:5000/base?token=abc%2Fdef&x=yz9"
SECRETS = ("mel", "s3c", "r%40t", "r@t", "pw", "abc", "def", "yz9", "token")


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        (URI, "https://***@host:5000/base?***"),
        ("postgresql://me@host/db", "postgresql://***@host/db"),
        ("http://host:5000", "http://host:5000"),
        ("http://host?token=abc", "http://host?***"),
        ("sqlite:////home/a@b/c.db?timeout=20", "sqlite:////home/a@b/c.db?***"),
    ],
)
def test_a_uri_is_shown_without_what_is_secret(uri: str, shown: str) -> None:
    assert masked(uri) == shown
    assert redacted(f"'{uri}' failed, {uri} too") == f"'{shown}' failed, {shown} too"


def test_parts_of_a_password_that_a_library_tells_are_hidden_too() -> None:
    assert redacted('no host "ret@host" for sec', "postgresql://me:sec@ret@host/db") == 'no host "***@host" for ***'
    assert redacted("method=ssd dataset=digits", URI) == "method=ssd dataset=digits"


@pytest.mark.parametrize("sign", ["", "+", "++"])
def test_the_command_of_a_run_has_no_uri(sign: str) -> None:
    assert command_line([f"{sign}tracking.uri={URI}", "method=ssd"]) == "python run.py method=ssd"


@pytest.mark.parametrize(
    "sweep", [pytest.param([], id="one run", marks=pytest.mark.slow), pytest.param(["-m"], id="a sweep")]
)
def test_no_file_and_no_message_tells_a_secret(
    sweep: list[str], command: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[Any] = []

    def log_run(self: Tracking, run: Any) -> str:
        logged.append(run)
        raise UserError(f"no host in {self.uri}", key="tracking.uri", kind="storage")

    monkeypatch.setattr(Tracking, "check", lambda _: None)
    monkeypatch.setattr(Tracking, "log_run", log_run)
    done = command(*sweep, *FAST[1:], "tracking=server", f'tracking.uri="{URI}"')
    assert done.code == 1
    (folder,) = runs(tmp_path)
    assert "DONE" in {file.name for file in folder.iterdir()}  # the results are whole
    told = {str(file): file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    told |= {"screen": (done.out + done.err).encode(), "logged": repr(logged).encode()}
    for where, content in told.items():
        for secret in ("s3c", "r%40t", "t@pw", "abc%2F", "yz9"):
            assert secret.encode() not in content, where
    assert "https://***@host:5000/base?***" in (folder / "results.json").read_text()


def test_a_setting_that_cannot_be_read_is_told_without_its_secrets(command: Callable[..., Done]) -> None:
    done = command(f"tracking.uri={URI}")
    assert done.code == 1
    assert not [secret for secret in SECRETS if secret in done.err]
