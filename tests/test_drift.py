"""Requests one after the other: the words of the command, and its table and figure over hand-made results."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from unlearning.errors import UserError
from unlearning.requests import command
from unlearning.requests.drift import averaged, drift_figure, drift_table, step


def results(forget: float, earlier: int = 0, **parts: Any) -> dict[str, Any]:
    after = {"samples": earlier} if earlier else None
    again = {"earlier/acc": 0.5} if earlier else {}
    rows = {
        "original": {"forget/acc": 1.0},
        "retrained": {"forget/acc": 0.25, "retain/acc": 1.0, "cost/seconds": 8.0} | again,
        "unlearned": {"forget/acc": forget, "retain/acc": 0.75, "cost/seconds": 2.0} | again,
    }
    return {"rows": rows, "after": after, "sizes": {"forget": 10}, "warning": ""} | parts


def shown(*steps: Any) -> list[str]:
    console = Console(width=120, record=True, file=io.StringIO())
    drift_table(steps, console)
    return [" ".join(line.split()) for line in console.export_text().splitlines()]


def test_a_row_for_each_request_and_model() -> None:
    lines = shown(step("a.txt", results(0.4)), step("b.txt", results(0.3, 10)))
    assert "a.txt 10 0 0.750 0.400 0.250" in lines  # cost: 2 of 8 seconds
    assert "b.txt 10 10 0.750 0.300 0.500 0.250" in lines
    assert lines.count("retrained 1.000 0.250 1") == 1
    assert lines.count("retrained 1.000 0.250 0.500 1") == 1


def test_chains_of_several_seeds_are_averaged() -> None:
    """0.4 and 0.2 are 0.3 on average, and 0.1 * sqrt(2) apart from it; the same for the other numbers."""
    chains = [
        [step("a.txt", results(0.4)), step("b.txt", results(0.5))],
        [step("a.txt", results(0.2)), step("b.txt", results(0.5))],
    ]
    first, second = averaged(chains)
    assert first.rows["unlearned"]["forget/acc"] == pytest.approx(0.3)
    assert first.spread["unlearned"]["forget/acc"] == pytest.approx(0.1 * 2**0.5)
    assert (second.rows["unlearned"]["forget/acc"], second.spread["unlearned"]["forget/acc"]) == (0.5, 0)
    assert first.cost == 0.25
    assert "a.txt 10 0 0.750 ± 0.000 0.300 ± 0.141 0.250" in shown(first)
    assert averaged(chains[:1]) == chains[0]


def test_without_retrained_models_and_with_a_destroyed_one() -> None:
    found = results(0.4, warning="it is destroyed")
    del found["rows"]["retrained"]
    lines = shown(step("a.txt", found))
    assert lines[0] == "warning: a.txt: it is destroyed"
    assert "a.txt 10 0 0.750 0.400" in lines
    assert not any(line.startswith("retrained") for line in lines)
    assert step("a.txt", found).cost is None
    assert not any("cost" in line for line in lines)
    titles = [axes.get_title().partition("\n")[0] for axes in drift_figure([step("a.txt", found)]).axes]
    assert titles == ["retain/acc", "forget/acc"]


def test_the_figure_has_the_requests_in_order_and_the_joint_one_apart() -> None:
    chain = [step("a", results(0.4)), step("b", results(0.3, 10)), step("joint", results(0.2))]
    figure = drift_figure(chain)
    titles = [axes.get_title().partition("\n")[0] for axes in figure.axes]
    assert titles == ["retain/acc", "forget/acc", "earlier/acc", "cost"]
    lines = {(line.get_label(), len(line.get_xdata())): list(line.get_ydata()) for line in figure.axes[1].lines}
    assert lines["unlearned", 2] == [0.4, 0.3]
    assert [0.2] in lines.values()
    assert [bar.get_height() for bar in figure.axes[3].patches] == [0.25] * 3


def test_the_words_of_the_command() -> None:
    own, settings = command.taken(["scenario=list", "method=ssd", "merge=true", "scenario.files=[a,b]", "after=x"])
    assert own == {"merge": "true", "scenario.files": "[a,b]", "after": "x"}
    assert settings == ["scenario=list", "method=ssd"]


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["method=ssd"], "scenario.files"),
        (["scenario.files=[{0}/a.txt]"], "scenario.files"),
        (["scenario.files=[{0}/a.txt,{0}/a.txt]"], "scenario.files"),
        (["scenario.files=[{0}/a.txt,{0}/none.txt]"], "scenario.files"),
        (["scenario.files=[{0}/a.txt,{0}/b.txt]", "merge=perhaps"], "merge"),
        (["scenario.files=[{0}/a.txt,{0}/b.txt]", "scenario.file={0}/a.txt"], "scenario.file"),
        (["scenario.files=[{0}/a.txt,{0}/b.txt]", "scenario=random"], "scenario"),
        (["scenario.files=[{0}/a.txt,{0}/b.txt]", "seeds=3"], "seeds"),
        (["scenario.files=[{0}/a.txt,{0}/b.txt]", "seeds=[1,1]"], "seeds"),
        (["scenario.files=[{0}/a.txt,{0}/b.txt]", "seeds=[1,2]", "after=x"], "seeds"),
    ],
)
def test_words_that_make_no_chain_are_refused(words: list[str], key: str, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text("1\n")
    with pytest.raises(UserError) as caught:
        command.call([word.format(tmp_path) for word in words])
    assert caught.value.key == key
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_chain_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, ids in {"a": (0, 1, 2), "b": (70, 71), "c": (150,)}.items():
        (tmp_path / f"{name}.txt").write_text("\n".join(map(str, ids)))
    words = [f"paths.root={tmp_path}", "tracking=none", "dataset=wine", "model=mlp", "method=finetune"]
    words += ["split.validation=0", "split.test=0", "evaluation.membership=null"]
    files = f"scenario.files=[{','.join(f'{tmp_path}/{name}.txt' for name in 'abc')}]"
    code = command.main([*words, files, "merge=true", f"figure={tmp_path}/drift.png"])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    assert "joint" in out
    assert (tmp_path / "drift.png").stat().st_size > 0
    assert len([folder for folder in (tmp_path / "multirun").iterdir() if (folder / "DONE").exists()]) == 4
    (tmp_path / "c.txt").write_text("70\n")  # again
    assert command.main([*words, files]) == 1
    assert capsys.readouterr().err.startswith("error: c.txt: 1 samples are requested again")
