"""Settings by data set, model and scenario: which rows of the tables apply, what wins, and what the tables may say."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from tests.conftest import composed, names
from unlearning.config.arguments import read
from unlearning.config.launch import launched
from unlearning.config.paths import CONF
from unlearning.config.tables import (
    CONDITIONS,
    Row,
    decided,
    flat,
    folders_of,
    merged,
    rows_for,
    rows_of,
    settings,
    settings_from,
)
from unlearning.config.validation import check, parameters, target_of
from unlearning.errors import UserError

FILES = sorted((CONF / "table").glob("*.yaml"))
TABLE = """
- why: Everywhere.
  when: {}
  set: {alpha: 1, optimizer: {_target_: Adam, lr: 0.1, eps: 0.5}}
- why: On two data sets.
  when: {dataset: [digits, wine]}
  set: {alpha: 2, optimizer: {lr: 0.2}}
- why: Poisoned digits.
  when: {dataset: digits, scenario: poison}
  set: {beta: 3}
"""


def table(folder: Path, text: str = TABLE, name: str = "mine") -> Path:
    """A configuration folder with a table."""
    (folder / "table").mkdir(parents=True, exist_ok=True)
    (folder / "table" / f"{name}.yaml").write_text(text)
    return folder


def numbers(rows: list[Row]) -> list[int]:
    return [row.number for row in rows]


# Which rows apply


def test_a_row_applies_when_all_of_its_conditions_hold(tmp_path: Path) -> None:
    folders = [table(tmp_path)]
    assert numbers(rows_for("mine", "digits", "mlp", "poison", folders)) == [1, 2, 3]
    assert numbers(rows_for("mine", "digits", "mlp", "class", folders)) == [1, 2]
    assert numbers(rows_for("mine", "wine", "mlp", "poison", folders)) == [1, 2]
    assert numbers(rows_for("mine", "svhn", "mlp", "poison", folders)) == [1]
    assert rows_for("other", "digits", "mlp", "poison", folders) == []


def test_later_rows_win_and_nested_settings_are_merged(tmp_path: Path) -> None:
    rows = rows_for("mine", "digits", "mlp", "poison", [table(tmp_path)])
    assert settings(rows) == {"alpha": 2, "optimizer": {"_target_": "Adam", "lr": 0.2, "eps": 0.5}, "beta": 3}
    winners = {key: row.number for key, row in settings_from(rows).items()}
    assert winners == {"alpha": 2, "optimizer._target_": 1, "optimizer.lr": 2, "optimizer.eps": 1, "beta": 3}


def test_a_value_with_a_target_replaces_the_whole_value() -> None:
    first = Row("t", 1, "why", {}, {"optimizer": {"_target_": "Adam", "eps": 0.5}})
    second = Row("t", 2, "why", {}, {"optimizer": {"_target_": "SGD", "lr": 1}})
    assert settings([first, second]) == {"optimizer": {"_target_": "SGD", "lr": 1}}
    assert settings_from([first, second]) == {"optimizer._target_": second, "optimizer.lr": second}


def test_tables_of_later_folders_come_after_those_of_earlier_ones(tmp_path: Path) -> None:
    ours, theirs = table(tmp_path / "ours"), table(tmp_path / "theirs", "- {why: Mine., set: {alpha: 9}}")
    rows = rows_for("mine", "wine", "mlp", "class", [ours, theirs])
    assert settings(rows)["alpha"] == 9
    assert [row.why for row in rows] == ["Everywhere.", "On two data sets.", "Mine."]


def test_an_edited_table_is_read_again(tmp_path: Path) -> None:
    table(tmp_path, "- {why: First., set: {alpha: 1}}")
    assert settings(rows_for("mine", "", "", "", [tmp_path])) == {"alpha": 1}
    table(tmp_path, "- {why: Second., set: {alpha: 22}}")
    assert settings(rows_for("mine", "", "", "", [tmp_path])) == {"alpha": 22}


@pytest.mark.parametrize(
    "text",
    [
        "alpha: 1",  # not a list
        "- [alpha, 1]",
        "- {why: Reason., when: {dataset: digits}}",  # nothing set
        "- {when: {dataset: digits}, set: {alpha: 1}}",  # no reason
        "- {why: ' ', set: {alpha: 1}}",
        "- {why: Reason., when: {data: digits}, set: {alpha: 1}}",
        "- {why: Reason., when: digits, set: {alpha: 1}}",
        "- {why: Reason., where: {dataset: digits}, set: {alpha: 1}}",
        "- {why: Reason., set: {alpha: 1}",  # not YAML
    ],
)
def test_what_is_not_a_table_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        rows_for("mine", "digits", "mlp", "class", [table(tmp_path, text)])
    assert refused.value.key == "table"


# Composition by Hydra


@cache
def without_table(method: str) -> dict[str, Any]:
    """The configuration of a method on the digits, without its table."""
    return composed(f"method={method}", "table@method=none")[0]


def test_the_command_line_wins_over_the_tables() -> None:
    method = composed("method=ssd", "method.lam=0.25")[0]["method"]
    rows = settings(rows_for("ssd", "digits", "small_cnn", "class"))
    assert flat(method) | {"lam": 0.25} | flat(rows) == flat(method)
    assert composed("method=ssd", "method.alpha=0.25")[0]["method"]["alpha"] == 0.25


def test_a_chosen_optimiser_and_schedule_replace_those_of_the_method_and_its_table() -> None:
    method = composed("method=finetune", "optimizer@method=adam", "schedule@method=linear")[0]["method"]
    assert method["optimizer"]["_target_"] == "torch.optim.Adam"
    assert "momentum" not in method["optimizer"]
    assert method["optimizer"]["lr"] == 1e-3  # Adam's, where the method and its table have rates for SGD
    assert method["schedule"]["_target_"] == "unlearning.schedules.linear"
    check(method, "method", {"model": None, "addons": ()})
    pretrain = composed("optimizer@pretrain=sgd")[0]["pretrain"]
    assert pretrain["optimizer"]["_target_"] == "torch.optim.SGD"
    assert "betas" not in pretrain["optimizer"]


def test_an_optimiser_with_a_target_in_a_table_replaces_that_of_the_method() -> None:
    assert "betas" in without_table("scrub")["method"]["optimizer"]  # Adam
    method = composed("method=scrub", "dataset=cifar10")[0]["method"]
    assert method["optimizer"]["_target_"] == "torch.optim.SGD"
    assert "betas" not in method["optimizer"]


def test_tables_of_a_folder_of_the_users_are_merged_after_these(tmp_path: Path) -> None:
    table(tmp_path, "- {why: Mine., when: {dataset: digits}, set: {lam: 0.5}}", "ssd")
    found = {}

    def task(config: DictConfig) -> None:
        found["method"] = OmegaConf.to_container(config.method, resolve=True)
        sources = HydraConfig.get().runtime.config_sources
        found["folders"] = folders_of((source.schema, source.path) for source in sources)

    launched(task, read(["--config-dir", str(tmp_path), "method=ssd"]), tmp_path)
    config, choices = composed("method=ssd")
    assert found["method"] == config["method"] | {"lam": 0.5}
    row = decided({**config, "method": found["method"]}, choices, folders=found["folders"])["method.lam"]
    assert (row.table, row.why) == (str(tmp_path / "table" / "ssd.yaml"), "Mine.")


def test_tables_of_scenarios_and_of_the_trainer_apply() -> None:
    config = composed("scenario=poison")[0]
    assert config["scenario"]["patch"] == 2
    assert config["trainer"]["threads"] == 1
    assert composed("scenario=poison", "dataset=mnist")[0]["scenario"]["patch"] == 3


def test_a_scenario_of_the_users_with_slashes_in_its_name_composes(tmp_path: Path) -> None:
    (tmp_path / "scenario" / "lab").mkdir(parents=True)
    (tmp_path / "scenario" / "lab" / "mine.yaml").write_text("_target_: x\n")
    config, choices = composed("method=ssd", "scenario=lab/mine", f"hydra.searchpath=[file://{tmp_path}]")
    assert choices["scenario"] == "lab/mine"
    assert config["method"]["importance"] == "per_sample"  # the row for the digits


# Rows and reasons are told


def test_each_setting_that_a_table_decided_is_told_with_its_row() -> None:
    config, choices = composed("method=finetune", "scenario=subclass")
    found = decided(config, choices)
    rate, batch = found["method.optimizer.lr"], found["method.batch_size"]
    assert rate.set["optimizer"]["lr"] == config["method"]["optimizer"]["lr"]
    assert (rate.when["scenario"], rate.table) == (("subclass",), "table/finetune.yaml")
    assert "scenario" not in batch.when  # the row for the digits sets it last
    assert found["trainer.threads"].table == "table/trainer.yaml"
    assert "method.forget_weight" not in found


@pytest.mark.parametrize(
    ("overrides", "gone"),
    [
        (["method.batch_size=32"], {"method.batch_size"}),  # also where the value is the table's
        (["method.optimizer={lr: 0.1}"], {"method.optimizer.lr"}),
        (["method.optimizer={weight_decay: 0.0}"], set()),
        (["optimizer@method=sgd"], {"method.optimizer.lr"}),
        (["table@method=none"], {"method.batch_size", "method.epochs", "method.keep", "method.optimizer.lr"}),
        (["trainer.threads=1"], {"trainer.threads"}),
        (["method.epochs=3", "seed=1", "scenario=class"], {"method.epochs"}),
    ],
)
def test_what_the_command_line_sets_is_not_a_tables(overrides: list[str], gone: set[str]) -> None:
    everything = decided(*composed("method=finetune"), ["method=finetune"])
    found = decided(*composed("method=finetune", *overrides), ["method=finetune", *overrides])
    assert everything.keys() - found.keys() == gone


def test_what_an_experiment_sets_is_not_a_tables() -> None:
    assert "method.optimizer.lr" in decided(*composed("method=finetune"))
    config, choices = composed("experiment=feasible_updates_reduced", "method=finetune")
    assert config["method"]["optimizer"]["lr"] == 2e-3
    assert "method.optimizer.lr" not in decided(config, choices)


# The tables themselves


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_table_names_what_exists(file: Path) -> None:
    assert file.stem in {*names("method"), *names("scenario"), "trainer"}
    known = {group: set(names(group)) for group in CONDITIONS}
    for row in rows_of(file):
        for group, chosen in row.when.items():
            assert set(chosen) <= known[group], f"{row.table}, row {row.number}"


def with_row(config: Mapping[str, Any], node: str, row: Row) -> dict[str, Any]:
    """The node of a configuration with what a row sets."""
    changed = OmegaConf.create({**config, node: merged(config[node], row.set)})
    found: dict[str, Any] = OmegaConf.to_container(changed, resolve=True)[node]
    return found


@pytest.mark.parametrize("file", [f for f in FILES if f.stem in names("method")], ids=lambda file: file.stem)
def test_the_settings_of_every_row_are_valid_for_the_method(file: Path) -> None:
    config = without_table(file.stem)
    for row in rows_of(file):
        check(with_row(config, "method", row), "method", {"model": None, "addons": ()})


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"alpa": 1.0}, "method.alpa"),
        ({"alpha": "much"}, "method.alpha"),
        ({"alpha": -1.0}, "method.alpha"),
        ({"importance": "by_sample"}, "method.importance"),
    ],
)
def test_a_row_with_a_wrong_setting_would_be_found(wrong: dict, key: str) -> None:
    with pytest.raises(UserError) as refused:
        check(
            with_row(without_table("ssd"), "method", Row("t", 1, "why", {}, wrong)),
            "method",
            {"model": None, "addons": ()},
        )
    assert refused.value.key == key


@pytest.mark.parametrize("name", names("method"))
def test_every_option_of_a_method_is_named_in_its_yaml(name: str) -> None:
    node = without_table(name)["method"]
    options, _ = parameters(target_of(node, "method"))
    assert set(options) - {"model", "addons"} == node.keys() - {"_target_"}


@pytest.mark.slow
@pytest.mark.parametrize("name", names("pretrain"))
def test_every_option_of_a_recipe_is_named_in_its_yaml(name: str) -> None:
    node = composed(f"pretrain={name}", "dataset=cifar10")[0]["pretrain"]
    options, _ = parameters(target_of(node, "pretrain"))
    assert set(options) - {"model", "addons"} == node.keys() - {"_target_", "seed", "checkpoint"}


# The corrective benchmark (Goel et al., 2024) counts steps of 512 of the 45,000 training samples that are left


def epochs_of(steps: int) -> int:
    return round(steps / (45_000 / 512))


@pytest.mark.parametrize(
    ("dataset", "steps"), [("cifar10", 1000), pytest.param("cifar100", 1500, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("scenario", ["poison", pytest.param("confusion", marks=pytest.mark.slow), "label_shuffle"])
def test_the_benchmarks_steps(dataset: str, steps: int, scenario: str) -> None:
    def method(name: str, *more: str) -> dict[str, Any]:
        return composed(f"method={name}", f"dataset={dataset}", f"scenario={scenario}", *more)[0]["method"]

    assert method("cf_k")["epochs"] == method("scrub")["epochs"] == epochs_of(steps)
    assert method("eu_k", "method.k=3", "pretrain.epochs=30")["epochs"] == epochs_of(steps)
    assert method("eu_k", "method.k=-1", "pretrain.epochs=30")["epochs"] == 30  # as long as the original was trained
    assert {name: method(name)["batch_size"] for name in ("cf_k", "eu_k")} == {"cf_k": 512, "eu_k": 512}


@pytest.mark.parametrize("words", [["dataset=digits"], ["dataset=cifar10_folder", "dataset.root=/somewhere"]])
def test_eu_k_trains_all_blocks_as_long_as_the_original_was_trained(words: list[str]) -> None:
    words = ["method=eu_k", "pretrain.epochs=30", *words]
    assert composed(*words, "method.k=-1")[0]["method"]["epochs"] == 30
    assert composed(*words)[0]["method"]["epochs"] == 10  # of the last blocks


def test_the_originals_of_the_benchmark_take_its_steps() -> None:
    epochs = composed("pretrain=linear")[0]["pretrain"]["epochs"]
    assert (epochs - 1) * 88 < 4000 <= epochs * 88  # 87.9 batches of 512
