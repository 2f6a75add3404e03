"""Runs in the loggers of Lightning. Those that are packages of their own are not installed here."""

from pathlib import Path

import pandas as pd
import pytest
from lightning.pytorch.loggers import CSVLogger
from omegaconf import OmegaConf

from tests.tracked import tracked_run
from unlearning.config.build import Spec
from unlearning.config.paths import CONF
from unlearning.errors import UserError
from unlearning.records.loggers import LightningLogger


def test_a_run_as_csv(tmp_path: Path) -> None:
    node = OmegaConf.load(CONF / "tracking" / "csv.yaml")
    config = OmegaConf.create({"paths": {"root": str(tmp_path)}, "tracking": node})
    csv = Spec("tracking", OmegaConf.to_container(config.tracking, resolve=True)).build()
    csv.check()
    csv.log_run(tracked_run(name="ssd/a b", curves={"unlearn/loss": [(0, 2.0), (1, 1.0)]}))
    (file,) = tmp_path.glob("csv/ssd_a b/*/metrics.csv")
    first, last = pd.read_csv(file).to_dict("records")
    assert (first["unlearn/loss"], first["step"]) == (2.0, 0)
    assert (last["unlearn/loss"], last["forget/acc"], last["mia/loss_auc"]) == (1.0, 0.25, 0.5)
    assert "run_key: abc" in (file.parent / "hparams.yaml").read_text()


def test_a_logger_whose_package_is_missing_or_that_fails_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="pip install no-such-package"):
        LightningLogger(CSVLogger, "no-such-package").check()

    def broken(name: str, version: str) -> CSVLogger:
        raise RuntimeError("not\nlogged in")

    with pytest.raises(UserError, match=r"not logged in.*results on disk are kept"):
        LightningLogger(broken, None).log_run(tracked_run())
