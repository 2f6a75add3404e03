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
from unlearning.config.launch import asked
from unlearning.config.space import Dimension, Space
from unlearning.data import tabular
from unlearning.data.datasets import Dataset
from unlearning.errors import UserError
from unlearning.metrics.directions import VALIDATED
from unlearning.request import Request
from unlearning.sweeps import request_of
from unlearning.tune import command
from unlearning.tune.judge import Judged, Judgement
from unlearning.tune.plan import Options, Plan, by_method, plans
from unlearning.tune.run import Chosen, reason, study
from unlearning.tune.trials import Trial

WINE = ("dataset=wine", "pretrain.epochs=2", "tracking=none", "method=finetune", "method.epochs=1")
CLASS = (
    *WINE,
    "scenario=class",
    "scenario.classes=[0]",
    "table@method=none",
    "method.keep=null",
    "method.optimizer.lr=0.3,1e30",
)
SPACE = Space((Dimension("method.alpha", (), 1.0, 2.0),), "why")


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
    done = tune(*CLASS)  # the second rate diverges
    assert done.code == 0, done.err
    assert "1 failed" in done.out
    (line,) = (line for line in done.out.splitlines() if line.startswith("failed: trial 2:"))
    assert "not finite" in line
    (row,) = yaml.safe_load(table(tmp_path).read_text())
    assert row["set"] == {"optimizer": {"lr": 0.3}}
    assert row["when"] == {"dataset": "wine", "model": "mlp", "scenario": "class"}
    assert all(word in row["why"] for word in ("rule=gap", "2 trials, 1 failed", "passes"))
    assert "seed=0 pretrain.epochs=2 method.epochs=1 scenario.classes=[0] table@method=none" in row["why"]
    own = "method.keep=null method.optimizer.lr=0.3 seed=1"  # without a table; a seed with no part in the choice
    assert done.out.rstrip().endswith(own)
    again = asked(request_of, read(["--config-dir", str(tmp_path / "tuned"), *WINE, "scenario=class"]), tmp_path)[0]
    assert again.config["method"]["optimizer"]["lr"] == 0.3
    assert row["why"] in [applied["why"] for applied in again.rows]

    def no_more(*_: object) -> None:
        raise AssertionError("all trials are made")

    monkeypatch.setattr("unlearning.tune.run.outcome", no_more)
    same = tune(*CLASS)
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

    words = (*WINE, "scenario=random", f"rule={rule}", "trials=4", "method.optimizer.lr=tag(log,interval(1e-4,1))")
    found = []
    for name, loaded in {"as it is": original, "permuted": permuted}.items():
        monkeypatch.setattr(tabular, "scikit_learn", loaded)
        done = tune(*words, f"paths.root={tmp_path / name}")
        assert done.code == 0, done.err
        numbers = [line for line in done.out.splitlines() if line.strip() and not line.startswith(("/", "finetune"))]
        found.append([line for line in numbers if str(tmp_path) not in line])
    assert found[0] == found[1]
    assert len(found[0]) >= 8


def test_draws_are_of_one_study_and_methods_of_several() -> None:
    jobs = [
        ["method=ssd", "seed=0"],
        ["method=ssd", "seed=1"],
        ["method=jit", "seed=0"],
        ["method=ssd", "method.lam=2"],
    ]
    assert by_method(jobs) == [jobs[:2], jobs[2:3], jobs[3:]]


@pytest.mark.slow
def test_a_study_is_judged_over_its_draws(tmp_path: Path) -> None:
    words = ["dataset=wine", "scenario=random", "method=original,ssd", "seed=0,1", f"paths.root={tmp_path}"]
    (plan,), (left_out,) = plans(read(words), Options(), tmp_path)
    assert "original" in left_out
    assert [request.config["seed"] for request in plan.requests] == [0, 1]
    assert plan.when == [{"dataset": "wine", "model": "mlp", "scenario": "random"}]
    assert plan.circumstances == "seed=0,1"
    assert plan.table == tmp_path / "tuned" / "table" / "ssd.yaml"
    assert {one.key for one in plan.space.dimensions} == {"method.alpha", "method.lam"}


def test_a_row_holds_where_it_was_searched_and_nowhere_else() -> None:
    def when(*points: str) -> list[dict[str, Any]]:
        choices = [dict(zip(("dataset", "model", "scenario"), point.split(), strict=True)) for point in points]
        requests = [Request({}, one) for one in choices]
        return [dict(one) for one in Plan(read([]), [[]] * len(points), SPACE, requests, Options()).when]

    both = ["digits", "wine"]
    assert when("digits mlp random", "wine mlp random") == [{"dataset": both, "model": "mlp", "scenario": "random"}]
    apart = when("digits small_cnn random", "wine mlp random", "wine mlp random")  # digits were not searched with mlp
    assert [(one["dataset"], one["model"]) for one in apart] == [("digits", "small_cnn"), ("wine", "mlp")]


def test_no_row_is_written_with_addons_which_are_no_condition(
    tune: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = Trial(0, ("method.optimizer.lr=0.3",), Judgement(0.1, 0.1, 0.1, dict.fromkeys(VALIDATED, 0.5), 1.0, 1.0))
    monkeypatch.setattr("unlearning.tune.run.study", lambda plan, _: Chosen(plan, None, [best]))
    done = tune(*CLASS, "addon=l1")
    assert done.code == 0, done.err
    assert not table(tmp_path).exists()
    assert "a row would hold for finetune without l1, too, so none is written" in done.out
    assert done.out.rstrip().endswith("addon=l1 method.optimizer.lr=0.3 seed=1")


def test_a_study_is_named_by_everything_but_what_it_searches() -> None:
    config, choices = composed("dataset=wine", "method=ssd")

    def name(
        rule: str = "gap", trials: int = 30, high: float = 2.0, evaluation: dict[str, Any] | None = None, **method: Any
    ) -> str:
        changed = {"method": config["method"] | method, "evaluation": config["evaluation"] | (evaluation or {})}
        request = Request({**config, **changed}, choices)
        space = Space((Dimension("method.alpha", (), 1.0, high),), "why")
        return Plan(read([]), [[]], space, [request], Options(trials, rule)).name

    assert name() == name(alpha=7.0) == name(trials=99)
    assert len({name(), name(lam=7.0), name("no_oracle"), name(high=3.0)}) == 4
    assert name(evaluation={"more": {"_target_": "unlearning.metrics.relearning.Relearning"}}) == name()  # not asked
    assert name(evaluation={"every": 2}) != name()


def test_a_study_beside_an_older_one_of_its_name_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, choices = composed("dataset=wine", "method=ssd")

    def plan(seed: int, rule: str = "gap") -> Plan:
        requests = [Request({**config, "seed": seed}, choices)]
        return Plan(read([]), [], SPACE, requests, Options(1, rule, out=tmp_path))

    for one in (plan(0), plan(1), plan(0, "no_oracle")):
        file = one.trials().file
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert plan(0).older == [plan(1).trials().file]
    one_judgement = Judged(Judgement(0.1, 0.1, 0.1, {}, 1.0, 1.0), {})
    monkeypatch.setattr("unlearning.tune.run.judged", lambda *_: one_judgement)
    for told in (1, 0):  # the second goes on with what the first began
        study(plan(2), None)
        assert capsys.readouterr().out.count("a new study begins") == told


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (UserError("the model's predictions are not finite", kind="diverged"), True),
        (torch.linalg.LinAlgError("the matrix is singular"), True),
        (UserError("the disk is full", kind="storage"), False),
        (torch.OutOfMemoryError("too large"), False),
        (KeyError("ours"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_what_a_setting_is_not_to_blame_for_ends_the_search(
    error: BaseException, counts: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Judgement(0.1, 0.1, 0.1, {}, 1.0, 1.0)
    outcomes = iter([Judged(one, {}), error, *[Judged(one, {})] * 5])

    def next_one(*_: object) -> Judged:
        if isinstance(outcome := next(outcomes), BaseException):
            raise outcome
        return outcome

    config, choices = composed("dataset=wine", "method=ssd")
    plan = Plan(read([]), [], SPACE, [Request(config, choices)], Options(2, out=tmp_path))
    monkeypatch.setattr("unlearning.tune.run.judged", next_one)
    if counts:
        first, second = study(plan, None).trials
        assert (first.judgement, first.reason) == (None, str(error))
        assert second.judgement == one
        return
    with pytest.raises(type(error)):
        study(plan, None)
    assert [trial.judgement for trial in study(plan, None).trials] == [one, one]  # the same command makes it again


@pytest.mark.parametrize(("words", "oracle"), [([], False), (["evaluation.best_by=gap", "method.keep=null"], True)])
def test_the_reason_of_a_row_names_the_oracle(words: list[str], oracle: bool, tmp_path: Path) -> None:
    (plan,), _ = plans(read(["method=ssd", "dataset=wine", *words, f"paths.root={tmp_path}"]), Options(), tmp_path)
    best = Trial(0, (), Judgement(0.1, 0.1, 0.1, {}, 1.0, 1.0))
    for rule, compared in {"no_oracle": oracle, "gap": True}.items():
        chosen = Chosen(replace(plan, options=Options(rule=rule)), None, [best])
        assert ("compared with the retrained model" in reason(chosen, best)) == compared


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
        (["method=ssd", "dataset=wine", "scenario=random", "retrained=false"], "rule"),
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
