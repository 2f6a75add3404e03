"""A training that was interrupted goes on from its last epoch, and makes what it would have made."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from tests.conftest import composed
from unlearning.engine import unfinished
from unlearning.engine.job import Job
from unlearning.engine.lab import Trained
from unlearning.runtime.progress import Progress

EPOCHS = 4


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trained]:
    """A function that trains the original with a store of that name, and interrupts it as an epoch begins."""
    monkeypatch.setattr(unfinished, "SECONDS", 0.0)

    def call(name: str, until: int = EPOCHS, seed: int = 0, **more: Any) -> Trained:
        def begins(_: object, trainer: L.Trainer, *__: object) -> None:
            if trainer.current_epoch == until:
                torch.rand(3)  # whatever happens in the process that ends
                raise KeyboardInterrupt

        monkeypatch.setattr(Progress, "on_train_epoch_start", begins)
        torch.manual_seed(seed)  # a new process
        words = ["dataset=digits", "model=small_cnn", f"pretrain.epochs={EPOCHS}"]
        job = Job.of(composed(*words, f"paths.store={tmp_path / name}", *(f"{k}={v}" for k, v in more.items()))[0])
        problem = replace(job.problem, data=replace(job.problem.data, crop=1))  # augmentation draws, too
        return job.lab.train(problem, job.recipe, job.problem.split.train[:200], 0)

    return call


def left(root: Path) -> list[Path]:
    return sorted((root / unfinished.KIND).glob("*.safetensors"))


def test_an_interrupted_training_makes_the_same_weights_curves_and_passes(
    train: Callable[..., Trained], tmp_path: Path
) -> None:
    whole = train("whole")
    for until in (1, 3):
        with pytest.raises(KeyboardInterrupt):
            train("stopped", until, seed=until)
        assert len(left(tmp_path / "stopped")) == 1
    resumed = train("stopped", seed=7)
    assert left(tmp_path / "stopped") == left(tmp_path / "whole") == []
    expected = whole.network.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in resumed.network.state_dict().items())
    assert resumed.curves == whole.curves
    for name in ("cost/forward", "cost/backward", "cost/passes"):
        assert resumed.cost[name] == whole.cost[name]


def test_a_state_that_is_not_whole_is_not_used(train: Callable[..., Trained], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train("stopped", 1)
    (file,) = left(tmp_path / "stopped")
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    again = train("stopped")
    assert again.cost["cost/forward"] == EPOCHS * 200
    assert "cost/seconds_before an interruption" not in again.cost
    assert not left(tmp_path / "stopped")


def test_short_trainings_and_those_that_shall_not_go_on_save_nothing(
    train: Callable[..., Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train("no", 2, **{"pretrain.resume": "false"})
    monkeypatch.setattr(unfinished, "SECONDS", 60.0)
    with pytest.raises(KeyboardInterrupt):
        train("short", 2)
    assert left(tmp_path / "no") == left(tmp_path / "short") == []
