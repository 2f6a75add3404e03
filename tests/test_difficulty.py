"""Scores of single samples by hand, the file that holds them, and the scenario that forgets by it."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.conftest import composed
from tests.finished import result
from unlearning import pipeline
from unlearning.data.datasets import Dataset
from unlearning.difficulty.command import FILE, main, tenths
from unlearning.difficulty.scores import centre_distance, el2n, entanglement, loss, mean_known
from unlearning.errors import Kind, UserError
from unlearning.records.notes import left_out
from unlearning.request import Request
from unlearning.scenarios.base import assemble
from unlearning.scenarios.difficulty import DifficultyForgetting, ScoreFile
from unlearning.scenarios.saved import split_file

N = 10  # samples of two classes: 0-5 train, 6 validation, 7-9 test
NAN = float("nan")


@pytest.fixture
def data() -> Dataset:
    ids = torch.arange(N)
    inputs = torch.arange(N, dtype=torch.uint8).view(N, 1, 1, 1)
    return Dataset("pair", inputs, ids % 2, ("a", "b"), ids[:6], ids[6:7], ids[7:], (0.0,), (1.0,))


def scored(folder: Path, data: Dataset, *values: float, learned: Tensor | None = None) -> str:
    """A file with a score of the training samples, from a model that learned all of them or those ``learned``."""
    scores = {"loss": torch.tensor([*values, *[NAN] * 4], dtype=torch.float64)}
    learned = data.train if learned is None else learned
    sets = {"train": data.train, "validation": data.validation, "test": data.test, "learned": learned}
    path = folder / "scores.safetensors"
    path.write_bytes(ScoreFile(scores, sets, replace(data, train=learned).digest).content())
    return str(path)


# Scores


def test_el2n_and_loss_by_hand() -> None:
    logits = np.log([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    labels = np.array([0, 1])
    # errors (-.5, .3, .2) and (.1, -.9, .8)
    assert el2n(logits, labels) == pytest.approx([0.38**0.5, 1.46**0.5])
    assert loss(np.log([0.8 / 0.2, 0.25 / 0.75])) == pytest.approx([-np.log(0.8), -np.log(0.25)])


def test_a_mean_is_over_the_models_that_count() -> None:
    found = mean_known(np.array([[1.0, NAN, 5.0], [3.0, 4.0, NAN]]), np.array([[1, 0, 0], [1, 1, 0]], dtype=bool))
    assert found == pytest.approx([2, 4, NAN], nan_ok=True)


def test_distance_and_entanglement_by_hand() -> None:
    features = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 3.0], [4.0, 3.0], [2.0, 1.5], [2.0, 1.5]])  # around (2, 1.5)
    assert centre_distance(features) == pytest.approx([1.5, 1.5, 1.5, 1.5, 0, 0])  # 2.5 each, over a mean of 10/6
    assert centre_distance(7 * features) == pytest.approx(centre_distance(features))
    line = np.array([[-1.0], [-3.0], [1.0], [3.0]])
    # each half has variance 1 around -2 and 2, and the mean of all is 0: (1 + 1) / ((4 + 4) / 2)
    assert entanglement(line, np.array([True, True, False, False])) == pytest.approx(0.5)
    # -1 and 1 around 0, -3 and 3 around 0: the two sets lie in the same place
    assert entanglement(line, np.array([True, False, True, False])) == float("inf")


# The scenario


@pytest.mark.parametrize(
    ("options", "forget"),
    [
        ({"end": "highest", "count": 2}, [0, 4]),
        ({"end": "lowest", "count": 2}, [1, 2]),
        ({"end": "lowest", "count": 3}, [1, 2, 5]),  # 2 and 5 have the same score
        ({"end": "middle", "count": 1}, [5]),  # 1 2 [5] 4 0
        ({"end": "highest", "fraction": 0.4}, [0, 4]),  # of the five that have a score
        ({"end": "middle", "fraction": 0.6}, [2, 4, 5]),
    ],
)
def test_an_end_of_the_scores_is_forgotten(
    options: dict[str, Any], forget: list[int], data: Dataset, tmp_path: Path
) -> None:
    file = scored(tmp_path, data, 9.0, 0.5, 1.0, NAN, 3.0, 1.0)
    problem = DifficultyForgetting(3, file, "loss", **options).prepare(data)
    split = problem.split
    assert split.forget.tolist() == forget
    assert sorted([*forget, *split.retain.tolist()]) == [0, 1, 2, 3, 4, 5]
    assert (split.forget_classes, split.named_classes, len(split.test_forget)) == ((), (), 0)
    (note,) = left_out(problem.selected)
    assert note.startswith("1 training samples lack")
    assert DifficultyForgetting(8, file, "loss", **options).prepare(data).split.digest == split.digest


def test_the_index_sets_are_those_of_the_scores(data: Dataset, tmp_path: Path) -> None:
    file, ids = scored(tmp_path, data, *map(float, range(6)), learned=torch.tensor([0, 2])), torch.arange(N)
    otherwise = replace(data, train=ids[4:], validation=ids[:2], test=ids[2:4])
    problem = DifficultyForgetting(0, file, "loss", count=1).prepare(otherwise)
    assert problem.data.digest == data.digest
    assert problem.split.forget.tolist() == [5]
    assert problem.split.test.tolist() == [7, 8, 9]


def refused(data: Dataset, file: str, key: str, kind: Kind, **options: Any) -> None:
    with pytest.raises(UserError) as caught:
        DifficultyForgetting(0, file, **{"by": "loss", **options}).prepare(data)
    assert (caught.value.key, caught.value.kind) == (key, kind)
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_is_refused(data: Dataset, tmp_path: Path) -> None:
    file = scored(tmp_path, data, *map(float, range(6)))
    refused(replace(data, inputs=data.inputs + 1), file, "scenario.file", "conflict")
    refused(data, file, "scenario.by", "choice", by="los")
    refused(data, file, "scenario.count", "value", count=7)
    refused(data, str(tmp_path / "none"), "scenario.file", "file")
    (tmp_path / "split").write_bytes(split_file(assemble(data, data.train[:1], data.labels < 0), data))
    refused(data, str(tmp_path / "split"), "scenario.file", "file")


def test_the_content_of_the_file_decides_and_not_its_place(data: Dataset, tmp_path: Path) -> None:
    config, choices = composed("scenario=difficulty", "scenario.file=F", "scenario.by=loss")

    def key(file: str) -> str:
        return Request(config | {"scenario": config["scenario"] | {"file": file}}, choices).key.digest

    first = key(scored(tmp_path, data, *map(float, range(6))))
    (other := tmp_path / "elsewhere").mkdir()
    assert key(scored(other, data, *map(float, range(6)))) == first
    assert key(scored(other, data, *map(float, range(1, 7)))) != first


# The command


def write_run(root: Path, data: Dataset, forget: list[int], seed: int = 0, **margins: list[float]) -> Path:
    """A finished run whose models have these margins; it forgets those samples."""
    folder = root / f"run{len(list(root.iterdir()))}"
    folder.mkdir()
    logits = {name: torch.zeros(N, 2) for name in margins}
    for name, values in margins.items():
        logits[name][torch.arange(N), data.labels] = torch.tensor(values)
    labels = {"labels": data.labels, "logits": torch.zeros(N, 2)}
    save_file(labels, folder / "predictions.safetensors")
    save_file({f"{name} logits": found for name, found in logits.items()}, folder / "references-0.safetensors")
    split = assemble(data, torch.tensor(forget), torch.zeros(N, dtype=torch.bool))
    (folder / "split.safetensors").write_bytes(split_file(split, data))
    (folder / "results.json").write_text(json.dumps(result(seed=seed)))
    (folder / "DONE").touch()
    return folder


def sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))


def test_the_command_scores_by_the_models_of_runs(
    data: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root := tmp_path / "runs").mkdir()
    high, low = [2.0] * N, [-1.0] * N
    write_run(root, data, [0, 1], 0, original=high, retrained=[-3.0, 1.0, *[2.5] * 8])
    write_run(root, data, [0, 2], 1, original=high, retrained=low)  # the same original model
    assert main([str(root), "--out", str(tmp_path / "out" / FILE)]) == 0
    told = capsys.readouterr().out
    assert "1 original and 2 retrained models, 6 training samples" in told
    assert "3 samples have none" in told
    found = load_file(tmp_path / "out" / FILE)
    assert found["loss"][:6].tolist() == pytest.approx([np.log1p(np.exp(-2))] * 6)
    assert found["loss"][6:].isnan().all()
    assert found["el2n"][0].item() == pytest.approx(2**0.5 * (1 - sigmoid(2)))
    expected = [
        sigmoid(2) - (sigmoid(-3) + sigmoid(-1)) / 2,  # neither retrained model learned it
        (sigmoid(2) + sigmoid(-1)) / 2 - sigmoid(1),
        (sigmoid(2) + sigmoid(2.5)) / 2 - sigmoid(-1),
        *[NAN] * 7,
    ]
    assert found["memorisation"].tolist() == pytest.approx(expected, nan_ok=True)
    scenario = DifficultyForgetting(0, str(tmp_path / "out" / FILE), count=1)
    assert scenario.prepare(data).split.forget.tolist() == [0]


def test_models_that_learned_all_say_nothing_of_memorisation(
    data: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path, data, [0], original=[1.0] * N)
    assert main([str(tmp_path)]) == 0
    assert "no memorisation" in capsys.readouterr().out
    assert {"loss", "el2n"} <= load_file(tmp_path / FILE).keys()
    assert "memorisation" not in load_file(tmp_path / FILE)


def test_runs_that_do_not_belong_together_are_a_line(
    data: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = replace(data, labels=1 - data.labels)
    for seed, each in enumerate((data, other)):
        write_run(tmp_path, each, [0], seed, original=[1.0] * N)
    assert main([str(tmp_path)]) == 1
    assert "differ in data" in capsys.readouterr().err
    for file in tmp_path.glob("*/results.json"):
        file.write_text(json.dumps(result(config={"trial": 4})))
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_the_ends_of_a_score_by_hand() -> None:
    values = np.array([3.0, NAN, 2.0, 2.0, *range(10, 36)])  # 29 scores, of which a tenth are 3
    found = {end: ids.tolist() for end, ids in tenths(values).items()}
    assert found == {"lowest": [2, 3, 0], "middle": [14, 15, 16], "highest": [27, 28, 29]}


@pytest.mark.slow
def test_the_most_memorised_digits_are_those_that_a_retrained_model_does_not_know(
    places: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From runs of the digits to runs that forget each end: the retrained model is worse on the higher."""

    def made(*overrides: str) -> Path:
        words = ("method=original", "tracking=none", "pretrain.epochs=8", *overrides, *places)
        return pipeline.run(Request(*composed(*words), words))

    for seed in range(6):
        folder = made("scenario=random", "scenario.fraction=0.3", "split.seed=0", f"seed={seed}")
    assert main([str(folder.parent), "--features", "--worst", "0.1"]) == 0
    out = capsys.readouterr().out
    assert "entanglement" in out
    worst, drawn = map(float, re.findall(r"worst ([\d.]+), random ([\d.]+)", out)[0])
    assert worst < drawn / 2  # unlearning leaves the worst set more recognisable
    file = f"scenario.file={folder.parent / FILE}"
    accuracy: Callable[..., float] = lambda *words: json.loads(  # noqa: E731
        (made("scenario=difficulty", file, *words) / "results.json").read_text()
    )["rows"]["retrained"]["forget/acc"]
    hard, easy = (accuracy(f"scenario.end={end}") for end in ("highest", "lowest"))
    assert hard < easy - 0.05
    assert accuracy("scenario.by=loss") < easy - 0.05
    assert "distance" in load_file(folder.parent / FILE)
