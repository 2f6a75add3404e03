"""Sweeps over unions of grids, and the studies that are written as such."""

import os
import re
import subprocess
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate

from hydra_plugins.listing import Listing
from tests.conftest import composed
from unlearning.config.schema import ROOT, register


def sweeper_of(params: Mapping, alternatives: Mapping) -> Any:
    """The sweeper, by its name as Hydra makes it: when Hydra looks for plugins it loads their modules anew."""
    target = "hydra_plugins.alternatives.Alternatives"
    return instantiate({"_target_": target, "max_batch_size": None, "params": params, "alternatives": alternatives})


def jobs(sweeper: Any, *command_line: str) -> list[list[str]]:
    """The settings of each job, as the sweeper hands them to a launcher in one batch."""
    parameters = [f"{key}={value}" for key, value in sweeper.params.items()]
    (batch,) = sweeper.split_arguments(OverridesParser.create().parse_overrides([*parameters, *command_line]), None)
    return batch


def jobs_of(experiment: str, *command_line: str) -> list[dict[str, str]]:
    """The jobs of ``python run.py -m experiment=NAME ...``, each as {key: value}."""
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("config", [f"experiment={experiment}"], return_hydra_config=True)
    sweeper = config.hydra.sweeper
    found = jobs(sweeper_of(sweeper.params, sweeper.get("alternatives", {})), f"experiment={experiment}", *command_line)
    return [dict(setting.split("=", 1) for setting in job) for job in found]


@pytest.fixture
def fruit() -> Any:
    return sweeper_of({"seed": "0,1"}, {"fruit": [{"kind": "apple", "colour": "red,green"}, {"kind": "plum"}]})


def test_a_job_takes_one_point_of_one_grid_of_each_axis(fruit: Any) -> None:
    assert jobs(fruit) == [
        ["kind=apple", "colour=red", "seed=0"],
        ["kind=apple", "colour=red", "seed=1"],
        ["kind=apple", "colour=green", "seed=0"],
        ["kind=apple", "colour=green", "seed=1"],
        ["kind=plum", "seed=0"],
        ["kind=plum", "seed=1"],
    ]


def test_the_command_line_decides_and_jobs_that_become_the_same_are_one(fruit: Any) -> None:
    assert jobs(fruit, "seed=5", "colour=blue") == [
        ["kind=apple", "colour=blue", "seed=5"],
        ["kind=plum", "seed=5", "colour=blue"],
    ]
    assert jobs(fruit, "seed=5", "kind=pear", "colour=blue") == [["kind=pear", "colour=blue", "seed=5"]]


def test_jobs_come_in_batches_of_the_size_asked_for(fruit: Any) -> None:
    overrides = OverridesParser.create().parse_overrides(["seed=0"])
    assert [len(batch) for batch in fruit.split_arguments(overrides, 2)] == [2, 1]


def test_a_list_of_the_jobs_runs_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert Listing().launch([["seed=0", "kind=plum"], ["seed=1"]], initial_job_idx=8) == []
    assert capsys.readouterr().out == "9. seed=0 kind=plum\n10. seed=1\n"


# The studies


@pytest.mark.parametrize(
    "script", (ROOT / "experiments").glob("*/*.sh"), ids=lambda file: f"{file.parent.name}/{file.name}"
)
def test_a_script_takes_folders_relative_to_where_it_is_called(script: Path, tmp_path: Path) -> None:
    recorded = tmp_path / "python"
    recorded.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/log\n')
    recorded.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    folders = re.search(r"sh \w+\.sh (.*)", script.read_text())[1].split()

    def status() -> int:
        return subprocess.run(["sh", script, *folders], cwd=tmp_path, env=environment, check=False).returncode

    if "CIFAR10_DIR" in folders:
        assert status() != 0  # it is not there
        assert not (tmp_path / "log").exists()
        (tmp_path / "CIFAR10_DIR").mkdir()
    assert status() == 0
    named = re.findall(r"(?:paths|dataset)\.root=(\S+)|--out (\S+)", (tmp_path / "log").read_text())
    assert {Path(one or other).relative_to(tmp_path).parts[0] for one, other in named} == set(folders)


@pytest.fixture(scope="module")
def benchmark() -> list[dict[str, str]]:
    return jobs_of("feasible_updates")


def test_the_benchmark_of_feasible_updates_has_360_runs(benchmark: list[dict[str, str]]) -> None:
    methods = Counter((job["method"], job.get("addon", "[]")) for job in benchmark)
    addons = ["[]", "[saliency]", "[and]", "[prob]", "[focus]", "[opt]"]
    wanted = [(method, addon) for method in ("neggrad_plus", "random_label") for addon in addons]
    wanted += [(method, "[]") for method in ("finetune", "msg", "conv_transpose")]
    assert methods == dict.fromkeys(wanted, 24)
    settings = Counter(
        tuple(job[key] for key in ("dataset", "model", "scenario", "scenario.count")) for job in benchmark
    )
    forgotten = [("random", n) for n in ("2250", "4500", "22500")] + [("class", n) for n in ("450", "1900", "3500")]
    models = [(data, model) for data in ("cifar10", "svhn") for model in ("resnet18", "vgg16_bn_mlp")]
    assert settings == dict.fromkeys([trained + drawn for trained in models for drawn in forgotten], 15)
    assert len(benchmark) == 360


def test_every_method_of_the_benchmark_has_the_papers_settings(benchmark: list[dict[str, str]]) -> None:
    jobs = {(job["method"], job.get("addon")): job for job in benchmark}.values()
    assert len(jobs) == 15
    for job in jobs:
        config, _ = composed(*(f"{key}={value}" for key, value in job.items()))
        method, pretrain = config["method"], config["pretrain"]
        assert method["optimizer"] in (
            {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 1e-4} | extra
            for extra in ({}, {"weight_decay": 0})
        )
        assert (method["epochs"], method["batch_size"], method["epoch_of"]) == (30, 256, "shortest")
        assert method.get("retain_weight", 0.95) == 0.95
        assert [node["scope"] for name, node in config["addon"].items() if name == "opt"] in ([], ["tensor"])
        assert (pretrain["epochs"], pretrain["batch_size"]) == (100, 256)
        assert pretrain["schedule"]["milestones"] == [91, 136]


def test_the_reduced_benchmark_gives_every_pair_the_same_settings() -> None:
    found = jobs_of("feasible_updates_reduced")
    pairs = Counter((job["method"], job["addon"]) for job in found)
    addons = ("[]", "[l1]", "[saliency]", "[opt]", "[prob]", "[and]", "[focus]", "[focus_opt]")
    assert pairs == {(m, a): 2 * 3 for m in ("random_label", "neggrad_plus") for a in addons}  # scenarios, seeds
    both = [next(job for job in found if job["method"] == m) for m in ("random_label", "neggrad_plus")]
    ours, theirs = (composed(*(f"{key}={value}" for key, value in job.items()))[0]["method"] for job in both)
    differ = {key for key in ours if ours[key] != theirs.get(key)}
    assert differ == {"_target_", "optimizer"}  # where the weight decay that NegGrad+ has by default is set to Adam's 0
    assert theirs["optimizer"] == ours["optimizer"] | {"weight_decay": 0}


def test_the_shares_of_saliency_are_a_sweep() -> None:
    found = jobs_of("saliency_share", "method=random_label")
    assert Counter(job["addon.saliency.keep"] for job in found) == dict.fromkeys(("0.1", "0.3", "0.5", "0.7", "0.9"), 3)
    config, _ = composed(*(f"{key}={value}" for key, value in found[0].items()))
    assert config["addon"]["saliency"]["keep"] == 0.1
