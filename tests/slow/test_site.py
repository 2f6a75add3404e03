"""The pages of docs/ as a site."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow


def test_the_site_builds_and_no_link_is_broken(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    pytest.importorskip("myst_nb")
    pytest.importorskip("furo")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "docs", str(tmp_path / "html")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stderr
    methods = (tmp_path / "html" / "reference" / "methods.html").read_text()
    assert all(f'id="{file.stem.replace("_", "-")}"' in methods for file in (ROOT / "conf" / "method").glob("*.yaml"))
