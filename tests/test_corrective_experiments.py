"""The corrective experiments: a job of each method composes, and there are as many jobs as the file says."""

import re

import pytest
from hydra import initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from tests.conftest import composed
from unlearning.config import ROOT

FILES = sorted((ROOT / "conf" / "experiment").glob("corrective_*.yaml"))


def jobs(name: str) -> list[list[str]]:
    params = OmegaConf.load(ROOT / "conf" / "experiment" / f"{name}.yaml").hydra.sweeper.params
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        parser = OverridesParser.create(GlobalHydra.instance().config_loader())
        overrides = parser.parse_overrides([f"{key}={values}" for key, values in params.items()])
        return [list(job) for job in BasicSweeper.split_arguments(overrides, None)[0]]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_jobs_compose(file) -> None:
    found = jobs(file.stem)
    assert [int(n) for n in re.findall(r"^# (\d+) runs", file.read_text(), re.MULTILINE)] == [len(found)]
    scenario = composed(f"experiment={file.stem}")[1]["scenario"]  # where the jobs name none
    one_of_each: dict[tuple[str, str], list[str]] = {}
    for job in found:
        words = dict(word.split("=", 1) for word in job)
        one_of_each.setdefault((words.get("scenario", scenario), words["method"]), job)
    for named, job in one_of_each.items():
        config, choices = composed(f"experiment={file.stem}", *job)
        assert config["scenario"]["_target_"].startswith("unlearning.data.manipulations.")
        assert (choices["scenario"], choices["method"]) == named


def test_the_benchmarks_ssd_looks_at_the_retain_set() -> None:
    for scenario in ("poison", "confusion", "label_shuffle"):
        assert composed("method=ssd", "dataset=cifar10", f"scenario={scenario}")[0]["method"]["reference"] == "retain"
