"""The published settings of each method, as they reach it, and where its table takes them from."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.conftest import composed
from unlearning.config.tables import flat


def settings(method: str, dataset: str, model: str, scenario: str) -> dict[str, Any]:
    """The settings of a method, dotted, for these choices."""
    words = [f"method={method}", f"dataset={dataset}", f"model={model}", f"scenario={scenario}"]
    return flat(composed(*words)[0]["method"])


def check(method: str, dataset: str, model: str, scenario: str, expected: Mapping[str, Any]) -> None:
    found = settings(method, dataset, model, scenario)
    assert {name: found[name] for name in expected} == expected


# GKT: its authors, and the JiT repository

GKT = {"attention_weight": 250.0, "generator_steps": 1, "student_steps": 10, "pseudo_batches": 4000, "clip_norm": 5.0}
GKT_OF_JIT = {
    "attention_weight": 5.0,
    "generator_steps": 2,
    "student_steps": 15,
    "pseudo_batches": 1000,
    "clip_norm": None,
}


@pytest.mark.parametrize(
    ("dataset", "model", "expected"),
    [
        ("mnist", "allcnn", GKT),
        ("svhn", "resnet9", GKT),
        ("cifar20", "vgg11", GKT_OF_JIT),
        ("pins", "vit_b16", GKT_OF_JIT),
    ],
)
def test_gkt(dataset: str, model: str, expected: Mapping[str, Any]) -> None:
    check("gkt", dataset, model, "class", expected)


# JiT: its code keeps the gradients of all batches

JIT = [
    ("vgg11", "class", 0.5, 3e-4, 128),
    ("vgg11", "subclass", 0.01, 3e-4, 64),
    ("vgg11", "random", 0.01, 3e-4, 128),
    ("vit_b16", "class", 0.8, 1.5, 128),
    ("vit_b16", "subclass", 1.5, 0.5, 64),
    ("vit_b16", "random", 0.5, 0.1, 128),
]


@pytest.mark.parametrize(("model", "scenario", "sigma", "rate", "batch_size"), JIT)
def test_jit(model: str, scenario: str, sigma: float, rate: float, batch_size: int) -> None:
    expected = {"sigma": sigma, "optimizer.lr": rate, "optimizer.momentum": 1.0, "batch_size": batch_size}
    check("jit", "cifar20", model, scenario, expected | {"copies": 25, "reduction": "sum", "batch_norm": "eval"})


# SSD: its own repository, and that of JiT, whose "VGG16" is a VGG-11

SSD = [
    ("cifar20", "resnet18", "class", 10.0, 1.0),
    ("cifar20", "resnet18", "subclass", 10.0, 1.0),
    ("cifar10", "resnet18", "random", 10.0, 1.0),
    ("cifar100", "vit_b16", "class", 5.0, 1.0),
    ("cifar20", "vit_b16", "subclass", 25.0, 1.0),
    ("cifar10", "vit_b16", "random", 10.0, 1.0),
    ("pins", "resnet18", "class", 50.0, 0.1),
    ("cifar20", "vgg11", "class", 1.0, 1.0),  # the constants 10 and 4 of its script have no effect
    ("cifar20", "vgg11", "subclass", 5.0, 6.0),
    ("cifar10", "vgg11", "random", 10.0, 4.0),
]


@pytest.mark.parametrize(("dataset", "model", "scenario", "alpha", "lam"), SSD)
def test_ssd(dataset: str, model: str, scenario: str, alpha: float, lam: float) -> None:
    order, batch_size = ("shuffled", 128) if scenario == "random" else ("retain_first", 64)
    expected = {"alpha": alpha, "lam": lam, "order": order, "batch_size": batch_size, "reference": "train"}
    check("ssd", dataset, model, scenario, expected | {"importance": "batch"})


def test_data_of_the_users_own_are_shuffled() -> None:
    """With retained samples first and ten classes of the same size, an alpha of 10 would select nothing."""
    assert settings("ssd", "cifar10", "resnet18", "class")["order"] == "shuffled"
    words = ["method=ssd", "dataset=image_folder", "dataset.root=/somewhere", "model=vit_b16"]
    assert composed(*words)[0]["method"]["order"] == "shuffled"


@pytest.mark.parametrize("scenario", ["class", "subclass", "random"])
def test_vgg16_has_no_published_setting_of_ssd(scenario: str) -> None:
    expected = {"alpha": 10.0, "lam": 1.0, "order": "shuffled", "batch_size": 64}
    check("ssd", "cifar20", "vgg16", scenario, expected)


# Fisher forgetting: the factor of the classifier's variance in the code of its authors, and in that of SSD


@pytest.mark.parametrize(("scenario", "factor"), [("class", 10.0), ("subclass", 1.0), ("random", 1.0)])
def test_fisher(scenario: str, factor: float) -> None:
    check("fisher", "cifar20", "resnet18", scenario, {"alpha": 1e-6, "head_factor": factor})
    check("fisher", "cifar10", "allcnn", scenario, {"alpha": 1e-6, "head_factor": 10.0})


# The corrective benchmark (Goel et al., 2024): batches of 512, so 1,000 steps over 45,000 samples are 11 epochs

CORRECTIVE = [
    ("cifar10", "resnet9", "poison", 11),
    ("cifar10", "resnet9", "label_shuffle", 11),
    ("cifar100", "wrn28_10_corrective", "confusion", 17),
]


@pytest.mark.parametrize(("dataset", "model", "scenario", "epochs"), CORRECTIVE)
def test_the_corrective_benchmark(dataset: str, model: str, scenario: str, epochs: int) -> None:
    check("ssd", dataset, model, scenario, {"batch_size": 512, "forget_batch_size": None, "reference": "retain"})
    expected = {
        "epochs": epochs,
        "batch_size": 512,
        "retain_share": 1.0,
        "mean_over": "elements",
        "temperature": 1.0,
        "optimizer._target_": "torch.optim.SGD",
        "optimizer.lr": 0.025,
        "schedule._target_": "unlearning.schedules.linear",
    }
    check("bad_teacher", dataset, model, scenario, expected)
    for method in ("xlf", "alfssd", "potion"):  # Schoepf et al. (2024)
        check(method, dataset, model, scenario, {"batch_size": 512, "reference": "retain", "importance": "batch"})


def test_its_originals_of_shuffled_labels_are_trained_for_longer() -> None:
    """5,500 steps instead of 4,000: 62.5 epochs of 88 batches."""
    assert composed("experiment=corrective_label_shuffle")[0]["pretrain"]["epochs"] == 63
    assert composed("experiment=corrective_poison")[0]["pretrain"]["epochs"] == 46


def test_bad_teacher_elsewhere_has_adam_and_its_papers_batches() -> None:
    expected = {"batch_size": 256, "retain_share": 0.3, "optimizer._target_": "torch.optim.Adam", "optimizer.lr": 1e-4}
    check("bad_teacher", "cifar10", "resnet18", "class", expected | {"epochs": 1, "schedule": None})


# Batch sizes of other comparisons


@pytest.mark.parametrize("method", ["assd", "assd_repair"])
def test_assd_looks_at_a_table_in_batches_of_1024(method: str) -> None:
    words = [f"method={method}", "dataset=csv", "dataset.root=/somewhere", "dataset.label=risk"]
    assert composed(*words)[0]["method"]["batch_size"] == 1024
    assert settings(method, "cifar10", "resnet18", "class")["batch_size"] == 64


@pytest.mark.parametrize(("scenario", "batch_size"), [("class", 64), ("subclass", 64), ("random", 128)])
def test_fine_tuning_of_the_ssd_repository(scenario: str, batch_size: int) -> None:
    expected = {"epochs": 5, "optimizer.lr": 0.02, "optimizer.momentum": 0.9, "optimizer.weight_decay": 5e-4}
    check("finetune", "cifar20", "resnet18", scenario, expected | {"batch_size": batch_size})


@pytest.mark.parametrize("model", ["vgg11", "vit_b16"])
def test_emmn_of_the_jit_repository(model: str) -> None:
    check("emmn", "cifar20", model, "class", {"noise_images": 4, "batch_size": 4, "copies": 80, "epochs": 2})


# SalUn's own repository


def test_salun() -> None:
    config = composed("experiment=salun")[0]
    found = flat(config["method"])
    expected = {"epochs": 10, "optimizer._target_": "torch.optim.SGD", "optimizer.lr": 0.013, "batch_norm": "train"}
    assert {name: found[name] for name in expected} == expected
    assert config["method"]["_target_"] == "unlearning.methods.amnesiac.Amnesiac"  # random labels, all data
    assert [(name, addon["keep"]) for name, addon in config["addon"].items()] == [("saliency", 0.5)]


# SCRUB: its authors, and the corrective benchmark


def test_scrub_of_its_authors_ascends_on_the_divergence_alone() -> None:
    check("scrub", "cifar10", "resnet18", "class", {"msteps": 2, "forget_until": None, "maximise": "divergence"})


@pytest.mark.parametrize(("dataset", "model", "epochs"), [("cifar10", "resnet9", 11), ("cifar100", "wrn28_10", 17)])
def test_scrub_of_the_corrective_benchmark(dataset: str, model: str, epochs: int) -> None:
    """A linear schedule with a horizon of 1.25 ends at a fifth of its rate: .0005 of .0025."""
    passes = {"msteps": None, "forget_until": 100, "maximise": "loss", "epochs": epochs, "temperature": 4.0}
    schedule = {"_target_": "unlearning.schedules.linear", "horizon": 1.25, "warmup": 0.01}
    rate = {"optimizer.lr": 2.5e-3, **{f"schedule.{name}": value for name, value in schedule.items()}}
    check("scrub", dataset, model, "poison", passes | rate | {"batch_size": 512, "forget_batch_size": 512})


# The comparison in the paper on Langevin unlearning (arXiv:2505.21872), with its All-CNN


COMPARISON = {
    "finetune": {"epochs": 10, "optimizer.lr": 0.04},
    "neggrad_plus": {"epochs": 5, "optimizer.lr": 0.01, "forget_weight": 1e-4, "retain_weight": 0.9999},
    "cf_k": {"epochs": 10, "optimizer.lr": 0.01, "schedule": None},
    "eu_k": {"epochs": 15, "optimizer.lr": 0.01, "schedule": None},  # all blocks, as long as the original
    "scrub": {
        "epochs": 5,
        "batch_size": 32,
        "forget_batch_size": 64,
        "alpha": 0.5,
        "gamma": 1.0,
        "temperature": 4.0,
        "msteps": 3,
        "optimizer._target_": "torch.optim.Adam",
        "optimizer.lr": 5e-4,
        "optimizer.weight_decay": 0.1,
        "schedule.milestones": [3],
    },
    "compose": {
        "epochs": 5,
        "optimizer.lr": 1e-4,
        "forget.keep": None,
        "forget.optimizer.lr": 1e-5,
        "remain.keep": None,
        "remain.epochs": 10,
        "remain.optimizer.lr": 0.04,
    },
    "langevin": {"attack.relative": False, "optimizer.lr": 1e-5, "epoch_of": "forget"},
}


@pytest.mark.parametrize(
    ("method", "dataset"),
    [*((method, "medmnist") for method in COMPARISON), ("scrub", "cifar10"), ("compose", "cifar10")],
)
def test_the_comparison_of_langevin_unlearning(method: str, dataset: str) -> None:
    kept = {} if method == "eu_k" else {"keep": None}  # eu_k always starts anew
    check(method, dataset, "allcnn", "class", COMPARISON[method] | kept)


@pytest.mark.parametrize(("dataset", "gamma", "lam"), [("cifar10", 0.64, 0.064), ("fashion_mnist", 0.0064, 0.0)])
def test_the_best_noise_and_pull_are_64_times_those_of_a_mean_over_64_samples(
    dataset: str, gamma: float, lam: float
) -> None:
    check("langevin", dataset, "allcnn", "class", {"attack.gamma": gamma, "attack.lam": lam})
