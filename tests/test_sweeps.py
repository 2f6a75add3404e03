"""Sweeps over unions of grids, and the experiments that are written as such."""

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from omegaconf import OmegaConf

from hydra_plugins.unlearning.alternatives import Alternatives, jobs, jobs_of
from hydra_plugins.unlearning.listing import Listing
from tests.conftest import ROOT, composed, names
from unlearning.config.build import Spec
from unlearning.config.schema import register
from unlearning.config.validation import check
from unlearning.data.datasets import Dataset
from unlearning.sweeps import shared_by_all

PARAMS = {"seed": "0,1"}
FRUIT = {"fruit": [{"kind": "apple", "colour": "red,green"}, {"kind": "plum"}]}


def fruit(*command_line: str) -> list[list[str]]:
    return jobs(OverridesParser.create(), PARAMS, FRUIT, command_line)


# The jobs of a sweep


def test_a_job_takes_one_point_of_one_grid_of_each_axis() -> None:
    assert fruit() == [
        ["kind=apple", "colour=red", "seed=0"],
        ["kind=apple", "colour=red", "seed=1"],
        ["kind=apple", "colour=green", "seed=0"],
        ["kind=apple", "colour=green", "seed=1"],
        ["kind=plum", "seed=0"],
        ["kind=plum", "seed=1"],
    ]


def test_the_command_line_decides_and_jobs_that_become_the_same_are_one() -> None:
    assert fruit("seed=5", "colour=blue") == [
        ["kind=apple", "colour=blue", "seed=5"],
        ["kind=plum", "seed=5", "colour=blue"],
    ]
    assert fruit("seed=5", "kind=pear", "colour=blue") == [["kind=pear", "colour=blue", "seed=5"]]


def test_jobs_share_what_stands_after_a_glob_too() -> None:
    settings = ["a=1", "method=glob(*)", "b=[2]", "seed=0,1", "c=x"]
    sweep = OmegaConf.create({"hydra": {"sweeper": {"params": {"d": "4"}}, "overrides": {"task": settings}}})
    assert shared_by_all(sweep) == ["d=4", "a=1", "b=[2]", "c=x"]


def test_without_axes_the_jobs_are_the_grid_of_the_command_line() -> None:
    parser = OverridesParser.create()
    assert jobs(parser, {}, {}, ["seed=range(2)", "a=[1,2],[3]"]) == [
        ["seed=0", "a=[1,2]"],
        ["seed=0", "a=[3]"],
        ["seed=1", "a=[1,2]"],
        ["seed=1", "a=[3]"],
    ]


@pytest.mark.parametrize("sweep", ["seed=range(3,3)", "seed=interval(0,1)"])
def test_a_sweep_without_jobs_is_refused(sweep: str) -> None:
    with pytest.raises(HydraException):
        fruit(sweep)


def test_the_jobs_of_a_command_line_are_those_of_its_experiment() -> None:
    register()
    found = jobs_of(["experiment=saliency_share", "method=random_label", "seed=3", "addon.saliency.keep=0.1,0.9"])
    assert [dict(setting.split("=", 1) for setting in job) for job in found] == [
        {
            "experiment": "saliency_share",
            "method": "random_label",
            "addon": "[saliency]",
            "addon.saliency.keep": keep,
            "seed": "3",
        }
        for keep in ("0.1", "0.9")
    ]
    assert jobs_of(["method=glob(ss*)", "hydra/launcher=list"]) == [["method=ssd"]]


class Recorder:
    """Stands for Hydra's loader of configurations and its launcher; notes what they are asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []

    def load_sweep_config(self, master_config: object, sweep_overrides: list[str]) -> None:
        self.asked.append(("compose", sweep_overrides))

    def launch(self, batch: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        self.asked.append((f"launch from {initial_job_idx}", batch))
        return []


def test_each_batch_is_composed_before_it_is_launched(tmp_path: Path) -> None:
    recorder = Recorder()
    sweeper: Any = Alternatives(2, {"seed": "0,1,2"}, None)
    sweeper.hydra_context = type("Context", (), {"config_loader": recorder})
    choices = {"method": "ssd", "dataset": "digits", "model": "small_cnn", "scenario": "class", "addon": ""}
    hydra = {"sweep": {"dir": str(tmp_path / "sweep")}, "runtime": {"choices": choices}, "launcher": {}}
    sweeper.config = OmegaConf.create({"hydra": hydra, "paths": {"runs": str(tmp_path)}, "kind": "apple"})
    sweeper.launcher = recorder
    sweeper.sweep([])
    assert recorder.asked == [
        ("compose", ["seed=0"]),
        ("compose", ["seed=1"]),
        ("launch from 0", [["seed=0"], ["seed=1"]]),
        ("compose", ["seed=2"]),
        ("launch from 2", [["seed=2"]]),
    ]
    assert OmegaConf.load(tmp_path / "sweep" / "multirun.yaml")["kind"] == "apple"


def test_a_batch_has_at_least_one_job() -> None:
    with pytest.raises(HydraException):
        Alternatives(0, {}, {})


def test_a_list_of_the_jobs_runs_none(capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [["seed=0", "method=ssd"], ["seed=0", "addon=[l1]", "method=scrub"], ["seed=1"]]
    assert Listing().launch(jobs, initial_job_idx=8) == []
    listed = capsys.readouterr().out.splitlines()
    assert listed == ["9. seed=0 method=ssd", "10. seed=0 addon=[l1] method=scrub", "11. seed=1"]


# The experiments


def sample(experiment: str) -> list[list[str]]:
    """A few jobs of an experiment: the first, the last, and some between."""
    register()
    found = jobs_of([f"experiment={experiment}"])
    return [found[i] for i in sorted({0, len(found) // 3, 2 * len(found) // 3, len(found) - 1})]


@pytest.mark.slow
@pytest.mark.parametrize("experiment", names("experiment"))
def test_jobs_of_every_experiment_compose_and_fit_what_they_name(experiment: str) -> None:
    for job in sample(experiment):
        config, choices = composed(*job)
        check(config["method"], "method", {"model": None, "addons": ()})
        check(config["scenario"], "scenario", {"seed": 0} if "seed" not in config["scenario"] else {})
        for setting in job:
            assert setting[0] not in "+~"
            key, _, value = setting.partition("=")
            assert choices.get(key, value) in (value, value.strip("[]"))


def test_every_method_of_the_feasible_updates_benchmark_has_the_settings_of_its_authors_code() -> None:
    register()
    assert len(jobs_of(["experiment=feasible_updates"])) == 15 * 24
    found = [
        dict(setting.split("=", 1) for setting in job)
        for job in jobs_of(["experiment=feasible_updates", "model=vgg16_bn_mlp"])
    ]
    unlearned = {
        (job["method"], job.get("addon", "[]")): {key: v for key, v in job.items() if key.startswith("addon.")}
        for job in found
    }
    special = {"[saliency_batch]": {"addon.saliency_batch.hold": "gradients"}, "[opt]": {"addon.opt.scope": "tensor"}}
    addons = {addon: special.get(addon, {}) for addon in ("[]", "[and]", "[prob]", "[focus]", *special)}
    pairs = {(name, addon): own for name in ("random_label", "neggrad_plus") for addon, own in addons.items()}
    assert unlearned == {(name, "[]"): {} for name in ("finetune", "msg", "conv_transpose")} | pairs
    one_of_each = {job["method"]: job for job in found}
    for name, job in one_of_each.items():
        config, _ = composed(*(f"{key}={value}" for key, value in job.items()))
        method, pretrain = config["method"], config["pretrain"]
        adam = method["optimizer"]
        assert (adam["_target_"], adam["lr"], adam["weight_decay"]) == ("torch.optim.Adam", 1e-4, 0)
        assert (method["batch_size"], method["forget_batch_size"], method["epoch_of"]) == (256, None, "forget")
        assert method["epochs"] == (29 if name in ("msg", "conv_transpose") else 30)  # their first makes the edit alone
        weights = (0.95, 0.05) if name in ("random_label", "neggrad_plus") else (1, 1)
        assert (method["retain_weight"], method["forget_weight"]) == weights
        assert (pretrain["epochs"], pretrain["batch_size"]) == (100, 256)
        assert pretrain["schedule"]["milestones"] == [91, 136]


def like_cifar(classes: int) -> Dataset:
    """45,000 training samples, as CIFAR has with split.validation=0.1, all of them one image."""
    ids, classes_named = torch.arange(45_000), tuple(f"class {number}" for number in range(classes))
    image, statistics = torch.zeros(1, 32, 32, 3, dtype=torch.uint8), ((0.0,) * 3, (1.0,) * 3)
    return Dataset(
        "like_cifar", image.expand(45_000, -1, -1, -1), ids % classes, classes_named, ids, ids[:0], ids[:0], *statistics
    )


@pytest.mark.parametrize(
    ("experiment", "more"),
    [
        pytest.param("corrective_last_blocks", [], marks=pytest.mark.slow),
        pytest.param("corrective_last_blocks_cifar100", [], marks=pytest.mark.slow),
        ("corrective_confusion", ["dataset=cifar100", "scenario.count=100,250,500"]),
    ],
)
def test_the_classes_have_as_many_samples_as_a_job_manipulates(experiment: str, more: list[str]) -> None:
    register()
    wanted = {}
    for job in jobs_of([f"experiment={experiment}", "seed=0", "method=eu_k", *more]):
        settings = dict(setting.partition("=")[::2] for setting in job)
        wanted[settings.get("scenario"), settings.get("scenario.count")] = job
    for job in wanted.values():
        config, choices = composed(*job)
        data = like_cifar({"cifar10": 10, "cifar100": 100}[choices["dataset"]])
        problem = Spec("scenario", config["scenario"]).build().prepare(data)
        assert len(problem.split.manipulated) == config["scenario"]["count"]


@pytest.mark.parametrize(
    "script", (ROOT / "experiments").glob("*/*.sh"), ids=lambda file: f"{file.parent.name}/{file.name}"
)
def test_a_script_takes_folders_relative_to_where_it_is_called(script: Path, tmp_path: Path) -> None:
    recorded = tmp_path / "python"
    recorded.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/log\n')
    recorded.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    usage = re.search(r"sh \w+\.sh (.*)", script.read_text())[1]
    folders = [word for word in usage.split() if not word.startswith("[")]  # what is optional is not a folder

    def status() -> int:
        return subprocess.run(["sh", script, *folders], cwd=tmp_path, env=environment, check=False).returncode

    if "CIFAR10_DIR" in folders:
        assert status() != 0  # it is not there
        assert not (tmp_path / "log").exists()
        (tmp_path / "CIFAR10_DIR").mkdir()
    assert status() == 0
    named = re.findall(r"(?:paths|dataset)\.root=(\S+)|--out (\S+)", (tmp_path / "log").read_text())
    assert {Path(one or other).relative_to(tmp_path).parts[0] for one, other in named} == set(folders)
