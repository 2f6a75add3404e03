"""Every method through the command line, as one sweep."""

from pathlib import Path

import pytest

from tests.command_line import start
from tests.conftest import names

pytestmark = pytest.mark.slow


def test_a_sweep_over_all_methods_ends_with_a_table(tmp_path: Path) -> None:
    process = start("-m", "method=glob(*)", f"paths.root={tmp_path}", "tracking=none", COLUMNS="160")
    out, err = process.communicate()
    assert (process.returncode, err) == (0, ""), out + err
    assert len(list((tmp_path / "multirun").glob("*/DONE"))) == len(names("method"))
    assert len(list((tmp_path / "store" / "models").glob("*.safetensors"))) == 2
    assert all(name in out for name in names("method"))
