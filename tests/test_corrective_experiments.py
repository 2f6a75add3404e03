"""The corrective experiments: a job of each method composes, and there are as many jobs as the file says."""

import math
import re

import pytest
import torch

from tests.conftest import composed
from tests.test_sweeps import jobs_of
from unlearning.config import build
from unlearning.config.schema import ROOT
from unlearning.data.datasets import Dataset

FILES = sorted((ROOT / "conf" / "experiment").glob("corrective_*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_jobs_compose(file) -> None:
    found = jobs_of(file.stem)
    assert [int(n) for n in re.findall(r"^# (\d+) runs", file.read_text(), re.MULTILINE)] == [len(found)]
    scenario = composed(f"experiment={file.stem}")[1]["scenario"]  # where the jobs name none
    one_of_each: dict[tuple[str, str], dict[str, str]] = {}
    for job in found:
        one_of_each.setdefault((job.get("scenario", scenario), job["method"]), job)
    for named, job in one_of_each.items():
        config, choices = composed(f"experiment={file.stem}", *(f"{key}={value}" for key, value in job.items()))
        assert config["scenario"]["_target_"].split(".")[-2] in ("manipulations", "poison")
        assert (choices["scenario"], choices["method"]) == named


def like_cifar(classes: int) -> Dataset:
    """45,000 training samples, as CIFAR has with split.validation=0.1, all of them one image."""
    ids, names = torch.arange(45_000), tuple(f"class {number}" for number in range(classes))
    image, statistics = torch.zeros(1, 32, 32, 3, dtype=torch.uint8), ((0.0,) * 3, (1.0,) * 3)
    return Dataset(
        "like_cifar", image.expand(45_000, -1, -1, -1), ids % classes, names, ids, ids[:0], ids[:0], *statistics
    )


ON_CIFAR = {  # with the words that make it CIFAR-100, where the file says some
    file.stem: re.findall(r"CIFAR-100: (dataset=.*)\.$", file.read_text(), re.MULTILINE)
    for file in FILES
    if "digits" not in file.stem and "data_entry" not in file.stem
}


@pytest.mark.parametrize(
    ("experiment", "words"), [(name, words) for name, found in ON_CIFAR.items() for words in ("", *found)]
)
def test_as_many_samples_as_a_job_manipulates_are_in_the_classes(experiment: str, words: str) -> None:
    found = jobs_of(experiment, *words.split())
    config, choices = composed(f"experiment={experiment}")
    scenario, count = choices["scenario"], config["scenario"]["count"]
    counts = {(job.get("scenario", scenario), int(job.get("scenario.count", count))) for job in found}
    for named, count in counts:
        fixed = [word for word in words.split() if not word.startswith("scenario.count=")]
        config, choices = composed(f"experiment={experiment}", f"scenario={named}", f"scenario.count={count}", *fixed)
        data = like_cifar({"cifar10": 10, "cifar100": 100}[choices["dataset"]])
        assert len(build.split(config, data).manipulated) == count


def test_last_blocks_have_the_benchmarks_k_and_steps_and_all_blocks_as_many_epochs_as_the_original() -> None:
    found = jobs_of("corrective_last_blocks")
    assert {(job["method"], job["method.k"]) for job in found} == {(m, k) for m in ("eu_k", "cf_k") for k in "23"}
    assert {(job["scenario"], job["scenario.count"]) for job in found} == {
        *(("poison", count) for count in ("100", "500", "1000")),
        *(("confusion", count) for count in ("500", "2500", "5000")),
        ("label_shuffle", "5000"),
    }
    for method in ("eu_k", "cf_k"):
        settings = composed("experiment=corrective_last_blocks", f"method={method}", "method.k=2")[0]["method"]
        assert settings["epochs"] == round(1000 / (45_000 / 512))
    whole = composed("experiment=corrective_poison", "method=eu_k")[0]
    assert (whole["method"]["k"], whole["method"]["epochs"]) == (-1, whole["pretrain"]["epochs"])


def test_the_originals_of_the_benchmark_take_its_steps() -> None:
    epochs = composed("pretrain=linear")[0]["pretrain"]["epochs"]
    assert epochs == math.ceil(4000 / (45_000 // 512 + 1))  # the last batch of an epoch is a smaller one


@pytest.mark.parametrize("scenario", ["poison", "confusion", "label_shuffle"])
@pytest.mark.parametrize(("dataset", "steps"), [("cifar10", 1000), ("cifar100", 1500)])
def test_the_benchmarks_settings(dataset: str, steps: int, scenario: str) -> None:
    epochs = round(steps / (45_000 / 512))

    def settings(method: str, *more: str) -> dict:
        return composed(f"method={method}", f"dataset={dataset}", f"scenario={scenario}", *more)[0]["method"]

    assert settings("ssd")["reference"] == "retain"
    assert settings("cf_k")["epochs"] == epochs
    assert settings("eu_k", "method.k=3")["epochs"] == epochs
    for original in (30, 69):
        assert settings("eu_k", "method.k=-1", f"pretrain.epochs={original}")["epochs"] == original
        assert settings("eu_k", "method.k=3", f"pretrain.epochs={original}")["epochs"] == epochs
    assert settings("eu_k", "method.k=3", "method.epochs=5")["epochs"] == 5
    scrub = settings("scrub")
    assert (scrub["epochs"], scrub["msteps"], scrub["forget_steps"]) == (epochs, None, 100)
    assert (scrub["optimizer"]["lr"], scrub["temperature"], scrub["batch_size"]) == (2.5e-3, 4, 512)


def test_last_blocks_of_cifar100_have_the_benchmarks_k_counts_and_steps() -> None:
    found = jobs_of("corrective_last_blocks_cifar100")
    assert {job["method.k"] for job in found} == {"3", "7"}  # of WRN-28-10, two convolutions a block: 5 and 13 layers
    assert {job["scenario.count"] for job in found if job["scenario"] == "confusion"} == {"100", "250", "500"}
    config, choices = composed("experiment=corrective_last_blocks_cifar100", "method.k=3")
    assert (choices["dataset"], choices["model"], choices["pretrain"]) == ("cifar100", "wrn28_10", "linear")
    assert config["method"]["epochs"] == round(1500 / (45_000 / 512))
    assert config["pretrain"]["epochs"] == math.ceil(6000 / 88)


def test_all_blocks_of_the_digits_are_retrained_as_long_as_the_original_was_trained() -> None:
    for k, epochs in (("-1", 15), ("3", 10)):
        settings = composed("experiment=corrective_digits_last_blocks", "method=eu_k", f"method.k={k}")[0]
        assert settings["pretrain"]["epochs"] == 15
        assert settings["method"]["epochs"] == epochs
