"""``python -m unlearning.tune``: whole studies on a small table of data, and mistakes that are one line."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.command_line import Done
from tests.conftest import composed
from unlearning.config.arguments import read
from unlearning.data import tabular
from unlearning.data.datasets import Dataset
from unlearning.errors import UserError
from unlearning.tune import command
from unlearning.tune.plan import Options, plans

WINE = ("dataset=wine", "scenario=random", "pretrain.epochs=2", "tracking=none", "method=finetune", "method.epochs=1")
RATES = "method.optimizer.lr=0.01,1e30"  # the second diverges


@pytest.fixture
def tune(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """A function that calls the tuner in this process."""

    def call(*words: str) -> Done:
        capsys.readouterr()
        code = command.main([f"paths.root={tmp_path}", *words])
        return Done(code, *capsys.readouterr())

    return call


def table(tmp_path: Path) -> Path:
    return tmp_path / "tuned" / "table" / "finetune.yaml"


def test_a_study_ends_with_a_row_that_the_next_run_uses(
    tune: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = tune(*WINE, RATES, "table@method=none")
    assert done.code == 0, done.err
    assert "1 failed" in done.out
    (line,) = (line for line in done.out.splitlines() if line.startswith("failed: trial 2:"))
    assert "not finite" in line
    (row,) = yaml.safe_load(table(tmp_path).read_text())
    assert row["set"] == {"optimizer": {"lr": 0.01}}
    assert row["when"] == {"dataset": "wine", "model": "mlp", "scenario": "random"}
    assert all(word in row["why"] for word in ("rule=gap", "2 trials, 1 failed", "passes"))
    (again,) = plans(read(["--config-dir", str(tmp_path / "tuned"), *WINE, "method.k=1,2"]), Options(), tmp_path)
    assert again.requests[0].config["method"]["optimizer"]["lr"] == 0.01
    assert again.requests[0].rows[-1]["why"] == row["why"]

    def no_more(*_: object) -> None:
        raise AssertionError("all trials are made")

    monkeypatch.setattr("unlearning.tune.run.outcome", no_more)
    same = tune(*WINE, RATES, "table@method=none")
    assert (same.code, same.out) == (0, done.out)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["gap", "no_oracle"])
def test_the_choice_does_not_depend_on_the_labels_of_the_test_samples(
    rule: str, tune: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = tabular.scikit_learn

    def permuted(**options: Any) -> Dataset:
        data = original(**options)
        labels = data.labels.clone()
        order = torch.randperm(len(data.test), generator=torch.Generator().manual_seed(0))
        labels[data.test] = labels[data.test][order]
        assert not torch.equal(labels, data.labels)
        return replace(data, labels=labels)

    words = (*WINE, f"rule={rule}", "trials=4", "method.optimizer.lr=tag(log,interval(1e-4,1))")
    found = []
    for name, loaded in {"as it is": original, "permuted": permuted}.items():
        monkeypatch.setattr(tabular, "scikit_learn", loaded)
        done = tune(*words, f"paths.root={tmp_path / name}")
        assert done.code == 0, done.err
        numbers = [line for line in done.out.splitlines() if line.strip() and not line.startswith(("/", "finetune"))]
        found.append([line for line in numbers if str(tmp_path) not in line])
    assert found[0] == found[1]
    assert len(found[0]) >= 8


def test_draws_are_of_one_study_and_methods_of_several(tmp_path: Path) -> None:
    words = ["dataset=wine", "scenario=random", "method=finetune,ssd", "seed=0,1", f"paths.root={tmp_path}"]
    found = plans(read(words), Options(), tmp_path)
    assert [(plan.label, [request.config["seed"] for request in plan.requests]) for plan in found] == [
        ("finetune", [0, 1]),
        ("ssd", [0, 1]),
    ]
    assert found[0].when == {"dataset": "wine", "model": "mlp", "scenario": "random"}
    assert found[0].table == tmp_path / "tuned" / "table" / "finetune.yaml"
    assert {one.key for one in found[1].space.dimensions} == {"method.alpha", "method.lam"}
    (request, _) = found[1].with_settings(["method.alpha=7"], tmp_path)
    assert request.config["method"]["alpha"] == 7


def test_a_study_is_named_by_everything_but_what_it_searches(tmp_path: Path) -> None:
    def name(*words: str, **options: Any) -> str:
        (plan,) = plans(read([*WINE, f"paths.root={tmp_path}", *words]), Options(**options), tmp_path)
        return plan.name

    searched = "method.batch_size=16,32"
    first = name(searched)
    assert name(searched, trials=99) == first
    assert name(searched, rule="no_oracle") != first
    assert name(searched, "method.retain_weight=2") != first
    assert name("method.batch_size=16,64") != first
    (plan,) = plans(read([*WINE, "method.optimizer.lr=0.1,0.2", f"paths.root={tmp_path}"]), Options(), tmp_path)
    request = plan.requests[0]
    other = composed(*WINE, "method.optimizer.lr=0.7", f"paths.root={tmp_path}")[0]
    assert plan.without_searched(replace(request, config=other)).key.digest == plan.without_searched(request).key.digest


def test_the_options_of_the_tuner_are_its_own() -> None:
    options, rest = Options.read(["trials=7", "rule=no_oracle", "pareto=True", "out=/x", "trial=3", "seed=1"])
    assert options == Options(7, "no_oracle", True, Path("/x"))
    assert rest == ["trial=3", "seed=1"]


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["trials=0"], "trials"),
        (["trials=many"], "trials"),
        (["pareto=maybe"], "pareto"),
        (["rule=best"], "rule"),
        (["out="], "out"),
        (["method=nothing"], "method"),
        (["method=original"], "method"),  # no search space
        (["method=ssd", "method.alpha=interval(3,1)"], "method.alpha"),
        (["method=ssd", "addon.l1.alpha=1,2"], "addon.l1.alpha"),
        (["method=ssd", "dataset=wine", "retrained=false"], "rule"),
        (["method=ssd", "dataset=wine", "scenario=random", "split.validation=0"], "split.validation"),
        (["method=trew", "dataset=wine", "scenario=random"], "scenario"),  # it cannot serve the request
        (["method=ssd", "--explain"], ""),
        (["method=ssd", "-m"], ""),
    ],
)
def test_a_mistake_is_one_line(words: list[str], key: str, tmp_path: Path, tune: Callable[..., Done]) -> None:
    with pytest.raises(UserError) as refused:
        command.call([f"paths.root={tmp_path}", *words])
    assert refused.value.key == key
    if key == "trials":
        done = tune(*words)
        assert (done.code, done.out) == (1, "")
        assert done.err.count("\n") == 1


def test_the_help_names_the_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("trials=", "rule=", "pareto=true", "no_oracle", "--config-dir", "interval("))
