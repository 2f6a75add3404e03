"""The address under which MLflow shows runs, as ``make ui`` prints it."""

from pathlib import Path

import pytest

from tests.tracked import tracked_run
from unlearning.errors import UserError
from unlearning.records.tracking import Tracking
from unlearning.records.ui import address


def test_the_address_of_the_runs_is_printed(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    Tracking(uri, "unlearning", None).log_run(tracked_run())
    assert "http://127.0.0.1:5001/#/experiments/1/runs" in address(uri, "5001", "unlearning")
    with pytest.raises(UserError, match="no experiment other"):
        address(uri, "5001", "other")
