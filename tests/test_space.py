"""Search spaces: their grammar, what the command line changes, and that those of the repository fit their methods."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.conftest import CONF, names
from unlearning.config.space import Dimension, dimension, parted, space_of
from unlearning.config.tables import CONDITIONS, flat, rows_of
from unlearning.config.validation import check_value, parameters, target_of
from unlearning.errors import UserError
from unlearning.gradients.sign_attack import SignAttack
from unlearning.methods.finetune import FineTune

FILES = sorted((CONF / "search").glob("*.yaml"))
NESTED = {"optimizer": torch.optim.SGD, "attack": SignAttack, "repair": FineTune}
NONE = {"original", "retrain", "assd", "sisa"}  # nothing to choose, or made to need no choice
CHOICES = {"method": "own", "dataset": "digits", "model": "mlp", "scenario": "class"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("method.a=interval(1, 10)", Dimension("method.a", (), 1.0, 10.0)),
        ("method.a=int(interval(1, 10))", Dimension("method.a", (), 1, 10)),
        ("method.a=tag(log, interval(0.1, 100))", Dimension("method.a", (), 0.1, 100.0, True)),
        ("method.a=choice(a, b)", Dimension("method.a", ("a", "b"))),
        ("method.a=1e-3,2e-3", Dimension("method.a", ("0.001", "0.002"))),
        ("method.a=range(1, 4)", Dimension("method.a", ("1", "2", "3"))),
    ],
)
def test_ranges_are_written_as_sweeps_are(text: str, expected: Dimension) -> None:
    found = dimension(text, "where")
    assert found == expected
    assert found.whole == (text == "method.a=int(interval(1, 10))")


@pytest.mark.parametrize(
    "text",
    ["a=5", "a=interval(3, 1)", "a=interval(a, b)", "a=tag(log, interval(0, 1))", "a=interval(1", "a=glob(*)"],
)
def test_what_names_no_values_is_refused(text: str) -> None:
    with pytest.raises(UserError) as refused:
        dimension(f"method.{text}", "where")
    assert refused.value.key == "method.a"


def test_drawn_numbers_have_three_digits_and_choices_are_as_they_were_written() -> None:
    assert Dimension("method.a", (), 0.1, 100.0).written(12.3456) == "method.a=12.3"
    assert Dimension("method.a", (), 0.1, 100.0).written(1.23456e-5) == "method.a=1.23e-05"
    assert Dimension("method.a", (), 1, 5000).written(1234) == "method.a=1234"
    assert Dimension("method.a", ("0.001", "x")).written("0.001") == "method.a=0.001"


def test_several_values_of_a_methods_option_are_searched_and_all_others_are_draws() -> None:
    rest, found = parted(["method=a,b", "seed=0,1", "method.alpha=1,2", "method.lam=3", "scenario.classes=[1],[2]"])
    assert rest == ["method=a,b", "seed=0,1", "method.lam=3", "scenario.classes=[1],[2]"]
    assert found == [Dimension("method.alpha", ("1", "2"))]
    with pytest.raises(UserError) as refused:
        parted(["addon.l1.alpha=interval(0, 1)"])
    assert refused.value.key == "addon.l1.alpha"


TABLE = """
- why: Everywhere.
  set:
    alpha: interval(1.0, 2.0)
    optimizer:
      lr: choice(0.1, 0.2)
- why: For classes.
  when: {scenario: class}
  set: {alpha: null, beta: "int(interval(1, 3))"}
"""


def searched(tmp_path: Path, *arguments: str, own: tuple[Dimension, ...] = (), **choices: str) -> list[str]:
    (tmp_path / "search").mkdir(exist_ok=True)
    (tmp_path / "search" / "own.yaml").write_text(TABLE)
    return [one.key for one in space_of(CHOICES | choices, arguments, own, [tmp_path]).dimensions]


def test_a_space_has_the_grammar_of_a_table_and_the_command_line_wins(tmp_path: Path) -> None:
    assert searched(tmp_path, scenario="random") == ["method.alpha", "method.optimizer.lr"]
    assert searched(tmp_path) == ["method.optimizer.lr", "method.beta"]
    assert searched(tmp_path, "method.beta=2", "seed=1") == ["method.optimizer.lr"]
    assert searched(tmp_path, "optimizer@method=adam") == ["method.beta"]
    assert searched(tmp_path, own=(Dimension("method.x", ("1", "2")),)) == ["method.x"]


@pytest.mark.parametrize("arguments", [("method.beta=2", "method.optimizer.lr=1"), None])
def test_nothing_to_search_is_one_line(arguments: tuple[str, ...] | None, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        searched(tmp_path, *arguments) if arguments else space_of(CHOICES, [], (), [tmp_path])
    assert (refused.value.key, refused.value.kind) == ("method", "missing")


# Those of the repository


def test_every_method_that_can_be_tuned_has_a_space() -> None:
    assert {*names("method")} - {file.stem for file in FILES} == NONE
    assert {file.stem for file in FILES} <= {*names("method")}


def accepted(file: Path, name: str) -> Any:
    """The parameter that an option of a method is; None for one that does not exist."""
    node: dict[str, Any] = {}
    while "_target_" not in node:  # a method that changes the settings of another
        text = yaml.safe_load(file.read_text())
        node = text | node
        file = file.with_name(f"{text['defaults'][0]}.yaml") if "_target_" not in node else file
    first, _, rest = name.partition(".")
    owner = NESTED[first] if rest else target_of(node, "method")
    if rest.startswith("optimizer."):
        owner, rest = torch.optim.SGD, rest.partition(".")[2]
    return parameters(owner)[0].get(rest or first)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_space_fits_its_method(file: Path) -> None:
    known = {group: set(names(group)) for group in CONDITIONS}
    for row in rows_of(file):
        assert all(set(chosen) <= known[group] for group, chosen in row.when.items())
        for name, text in flat(row.set).items():
            option = accepted(CONF / "method" / file.name, name)
            assert option is not None, name
            if text is None:
                continue
            one = dimension(f"method.{name}={text}", file.stem)
            values = [yaml.safe_load(value) for value in one.choices] if one.choices else [one.low, one.high]
            for value in values:
                check_value(float(value) if isinstance(value, str) and "e" in value else value, option, name)
