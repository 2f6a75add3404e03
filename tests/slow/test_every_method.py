"""Every method through the command line, as one sweep."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import names
from unlearning.config.schema import ROOT

pytestmark = pytest.mark.slow


def test_a_sweep_over_all_methods_ends_with_a_table(tmp_path: Path) -> None:
    command = [sys.executable, "run.py", "-m", "method=glob(*)", f"paths.root={tmp_path}", "tracking=none"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "160"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "multirun").glob("*/DONE"))) == len(names("method"))
    assert len(list((tmp_path / "store" / "models").glob("*.safetensors"))) == 2
    assert all(name in done.stdout for name in names("method"))
