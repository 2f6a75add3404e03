"""The settings that papers publish for a model and a scenario are those that a command line gets."""

from pathlib import Path

import pytest
import yaml
from hydra.utils import get_object
from omegaconf import OmegaConf

from tests.conftest import composed, names
from unlearning.config.schema import ROOT

# Foster et al. (2024): alpha and lambda of SSD; sigma, rate and batch of JiT, whose code builds a VGG11 as "VGG16".
SSD = {
    ("resnet18", "class"): (10, 1, 64),
    ("resnet18", "subclass"): (10, 1, 64),
    ("resnet18", "random"): (10, 1, 128),
    ("vit_b16", "class"): (5, 1, 64),
    ("vit_b16", "subclass"): (25, 1, 64),
    ("vit_b16", "random"): (10, 1, 128),
    ("vgg16", "class"): (10, 4, 64),
    ("vgg16", "subclass"): (5, 6, 64),
    ("vgg16", "random"): (10, 4, 128),
}
JIT = {
    ("vit_b16", "class"): (0.8, 1.5, 128),
    ("vit_b16", "subclass"): (1.5, 0.5, 64),
    ("vit_b16", "random"): (0.5, 0.1, 128),
    ("vgg11", "class"): (0.5, 3e-4, 128),
    ("vgg11", "subclass"): (0.01, 3e-4, 64),
    ("vgg11", "random"): (0.01, 3e-4, 128),
}


def holds(node: dict, wanted: dict) -> bool:
    """Whether a composed node has the values of a file, in its nested nodes, too."""
    return all(
        holds(node[key], value) if isinstance(value, dict) else node[key] == value
        for key, value in wanted.items()
        if key != "defaults"
    )


def settings(method: str, model: str, scenario: str) -> dict:
    return composed(f"method={method}", f"model={model}", f"scenario={scenario}", "dataset=cifar20")[0]["method"]


@pytest.mark.parametrize(("model", "scenario"), SSD)
def test_ssd(model: str, scenario: str) -> None:
    found = settings("ssd", model, scenario)
    assert (found["alpha"], found["lam"], found["batch_size"]) == SSD[model, scenario]


def test_ssd_on_pins_faces() -> None:
    config = composed("method=ssd", "dataset=pins")[0]
    assert (config["method"]["alpha"], config["method"]["lam"]) == (50, 0.1)
    pretrain = config["pretrain"]
    assert (pretrain["epochs"], pretrain["schedule"]["milestones"]) == (200, [60, 120, 160])


@pytest.mark.parametrize(("model", "scenario"), JIT)
def test_jit(model: str, scenario: str) -> None:
    found = settings("jit", model, scenario)
    assert (found["sigma"], found["optimizer"]["lr"], found["batch_size"]) == JIT[model, scenario]


def test_potion_takes_the_importance_that_its_paper_proposes() -> None:
    found = composed("method=potion", "dataset=cifar10")[0]["method"]
    assert (found["measure"], found["rho"]) == ("norm", 0.2)


@pytest.mark.parametrize("scenario", ["class", "subclass", "random"])
def test_bad_teacher(scenario: str) -> None:
    assert settings("bad_teacher", "vit_b16", scenario)["batch_size"] == 128
    assert settings("bad_teacher", "resnet18", scenario)["batch_size"] == 256


@pytest.mark.parametrize("model", ["resnet18", "vit_b16", "vgg16", "vgg11", "allcnn", "small_cnn"])
def test_unsir_takes_ten_times_the_noise_steps_for_a_sub_class_whatever_the_model(model: str) -> None:
    assert [settings("unsir", model, scenario)["noise_steps"] for scenario in ("class", "subclass")] == [25, 250]
    assert composed("method=unsir", f"model={model}", "scenario=subclass")[0]["method"]["noise_steps"] == 250  # digits


def test_what_suits_a_data_set_goes_before_what_a_paper_publishes() -> None:
    own = composed("method=ssd", "dataset=digits")[0]["method"]
    assert composed("method=ssd", "dataset=digits", "model=vgg16")[0]["method"]["alpha"] == own["alpha"]


def test_what_suits_a_scenario_goes_before_what_suits_its_data_set() -> None:
    found = {s: composed("method=amnesiac", f"scenario={s}")[0]["method"] for s in ("class", "random", "data_entry")}
    assert [(m["epochs"], m["optimizer"]["lr"]) for m in found.values()] == [(3, 1e-3), (1, 1e-4), (3, 1e-3)]
    jit = composed("method=jit", "scenario=subclass", "method.sigma=0.2")[0]["method"]
    assert (jit["sigma"], jit["optimizer"]["lr"]) == (0.2, 2e-6)  # and the command line before both


@pytest.mark.parametrize(
    "file", (ROOT / "conf/preset/by_scenario").glob("*/*.yaml"), ids=lambda f: f"{f.parent.name}/{f.stem}"
)
def test_every_preset_by_scenario_is_reached_and_goes_before_others(file: Path) -> None:
    scenario = next(s for s in names("scenario") if file.stem.endswith(f"_{s}"))
    words = [f"method={file.parent.name}", f"dataset={file.stem.removesuffix(f'_{scenario}')}"]
    words += ["method.k=2"] * (file.parent.name == "eu_k")  # whose presets are of the last blocks
    config = composed(*words, f"scenario={scenario}")[0]
    method, other = config["method"], composed(*words, "scenario=class")[0]["method"]
    preset = yaml.safe_load(file.read_text())
    whole = OmegaConf.create(config | {"method": method | preset})  # where the preset refers to other settings, too
    resolved = OmegaConf.to_container(whole, resolve=True)["method"]
    assert holds(method, {key: resolved[key] for key in preset})
    assert method != other
    assert method.keys() == other.keys()


@pytest.mark.parametrize(
    "file", (ROOT / "conf" / "published").glob("*/*.yaml"), ids=lambda f: f"{f.parent.name}/{f.stem}"
)
def test_every_file_is_reached(file: Path) -> None:
    model, scenario = file.stem.rsplit("_", 1)
    method, other = settings(file.parent.name, model, scenario), settings(file.parent.name, "allcnn", "confusion")
    assert holds(method, yaml.safe_load(file.read_text()))
    assert method != other
    assert method.keys() == other.keys()


@pytest.mark.parametrize("recipe", names("pretrain"))
def test_every_pretraining_recipe_composes_on_another_data_set(recipe: str) -> None:
    pretrain = composed(f"pretrain={recipe}", "dataset=cifar10")[0]["pretrain"]
    assert get_object(pretrain["_target_"])
    assert pretrain["epochs"] > 0
    assert pretrain["schedule"] is None or get_object(pretrain["schedule"]["_target_"])
