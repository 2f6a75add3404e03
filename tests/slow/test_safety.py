"""Processes that are killed or start together: nothing is lost, made twice or left behind."""

from pathlib import Path

import pytest

from experiments.safety import kills, together

pytestmark = pytest.mark.slow


def test_kills_at_random_moments_lose_and_double_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert kills.main(["--kills", "7", "--root", str(tmp_path)]) == 0, capsys.readouterr().out


def test_processes_that_start_together_make_all_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert together.main(["--processes", "4", "--root", str(tmp_path)]) == 0, capsys.readouterr().out
