"""The corrective experiments: a job of each method composes, and there are as many jobs as the file says."""

import math
import re

import pytest

from tests.conftest import composed
from tests.test_sweeps import jobs_of
from unlearning.config import ROOT

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
        assert config["scenario"]["_target_"].startswith("unlearning.data.manipulations.")
        assert (choices["scenario"], choices["method"]) == named


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


def test_all_blocks_of_the_digits_are_retrained_as_long_as_the_original_was_trained() -> None:
    for k, epochs in (("-1", 15), ("3", 10)):
        settings = composed("experiment=corrective_digits_last_blocks", "method=eu_k", f"method.k={k}")[0]
        assert settings["pretrain"]["epochs"] == 15
        assert settings["method"]["epochs"] == epochs
