"""The trials of a study: shared by processes, equal for each method, gone on with, and never chosen if they failed."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from unlearning.config.space import Dimension
from unlearning.config.tables import rows_for, rows_of, settings
from unlearning.errors import UserError
from unlearning.tune.judge import Judgement
from unlearning.tune.row import write_rows
from unlearning.tune.trials import Trial, Trials, front

RATE = Dimension("method.optimizer.lr", (), 1e-4, 1.0, True)
EPOCHS = Dimension("method.epochs", (), 1, 9)
GRID = (Dimension("method.a", ("1", "2")), Dimension("method.b", ("x", "y")))


def judgement(forgetting: float, retention: float = 0.0) -> Judgement:
    return Judgement((forgetting + retention) / 2, forgetting, retention, {"val/acc": 0.5}, 2.0, 10.0)


def trials(folder: Path, most: int = 6, space: Sequence[Dimension] = (RATE, EPOCHS), **options: object) -> Trials:
    return Trials(folder / "study.journal", space, most, 0, **options)


def made(study: Trials, most: int = 100) -> list[tuple[str, ...]]:
    """Make trials that are the better the smaller the rate is; the settings of each."""
    found = []
    while len(found) < most and (trial := study.ask()) is not None:
        found.append(trial.settings)
        study.tell(trial, judgement(float(trial.settings[0].partition("=")[2])))
    return found


def test_a_study_makes_as_many_trials_as_it_was_given(tmp_path: Path) -> None:
    study = trials(tmp_path)
    found = made(study)
    assert len(found) == len(study.done()) == 6
    assert study.ask() is None
    for rate, epochs in found:
        assert 1e-4 <= float(rate.removeprefix("method.optimizer.lr=")) <= 1
        assert int(epochs.removeprefix("method.epochs=")) in range(1, 10)
    first = study.done()[0]
    assert (first.settings, first.judgement) == (found[0], judgement(float(found[0][0].partition("=")[2])))
    assert len(made(trials(tmp_path, most=8))) == 2  # more trials are those that are missing


def test_a_study_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole = made(trials(tmp_path / "whole", most=12))
    parts = made(trials(tmp_path / "parts", most=12), most=5) + made(trials(tmp_path / "parts", most=12))
    assert parts == whole
    assert len(set(whole)) > 10


def test_processes_share_the_trials(tmp_path: Path) -> None:
    one, other = trials(tmp_path, most=3), trials(tmp_path, most=3)
    asked = [one.ask(), other.ask(), one.ask()]
    assert [trial.number for trial in asked if trial] == [0, 1, 2]
    assert other.ask() is None  # while the three are being made
    assert len({trial.settings for trial in asked if trial}) == 3
    for study, trial in zip((one, other, one), asked, strict=True):
        assert trial is not None
        study.tell(trial, judgement(0.5))
    assert one.done() == other.done()
    assert len(one.done()) == 3


def test_a_trial_whose_process_died_does_not_count(tmp_path: Path) -> None:
    dead = trials(tmp_path, most=2)
    asked = dead.ask()
    assert asked is not None
    dead.held[asked.number][1].release()  # as the system does
    study = trials(tmp_path, most=2)
    assert len(made(study)) == 2
    assert [trial.number for trial in study.done()] == [1, 2]


def test_a_trial_that_is_given_up_does_not_count(tmp_path: Path) -> None:
    study = trials(tmp_path, most=2)
    asked = study.ask()
    assert asked is not None
    study.give_up(asked)
    assert not study.held
    assert len(made(study)) == len(study.done()) == 2
    study.give_up(study.done()[0])  # it has an outcome
    assert len(study.done()) == 2


def test_a_failed_trial_counts_and_says_why(tmp_path: Path) -> None:
    study = trials(tmp_path, most=2)
    failed = study.ask()
    assert failed is not None
    study.tell(failed, "it diverged")
    assert len(made(study)) == 1
    first, second = study.done()
    assert (first.judgement, first.reason) == (None, "it diverged")
    assert second.judgement is not None


def test_a_grid_that_fits_is_tried_whole_and_each_point_once(tmp_path: Path) -> None:
    def points(most: int, folder: str) -> list[tuple[str, ...]]:
        study = trials(tmp_path / folder, most, GRID)
        found = []
        while (trial := study.ask()) is not None:
            found.append(trial.settings)
            study.tell(trial, judgement(0.5))
        return found

    assert points(10, "whole") == [(f"method.a={a}", f"method.b={b}") for a in "12" for b in "xy"]
    assert len(points(3, "part")) == 3


def test_the_front_by_hand() -> None:
    values = {1: (0.0, 0.5), 2: (0.1, 0.2), 3: (0.2, 0.3), 4: (0.3, 0.1), 5: (0.1, 0.2)}
    found = [Trial(number, (), judgement(*value)) for number, value in values.items()] + [Trial(9, (), None, "failed")]
    assert [trial.number for trial in front(found)] == [1, 2, 4]


def test_forgetting_and_retention_can_be_two_objectives(tmp_path: Path) -> None:
    study = trials(tmp_path, most=3, pareto=True)
    while (trial := study.ask()) is not None:
        study.tell(trial, judgement(0.1 * trial.number, 0.2 - 0.1 * trial.number))
    assert [trial.number for trial in front(study.done())] == [0, 1, 2]
    assert len(study.study.best_trials) == 3


# Rows


def test_a_row_is_appended_to_a_table_of_the_users_and_the_older_one_of_its_study_removed(tmp_path: Path) -> None:
    file = tmp_path / "table" / "ssd.yaml"
    file.parent.mkdir()
    mine = "# My own remarks.\n- why: Mine.\n  when: {dataset: digits}\n  set: {alpha: 1.0, lam: 2.0}\n"
    file.write_text(mine)
    when = {"dataset": "digits", "model": "mlp", "scenario": "class"}
    write_rows(file, "one", "A reason: it's 'best'.", [when], ["method.alpha=1.23e-05", "method.optimizer.lr=0.5"])
    write_rows(file, "two", "Another.", [{"dataset": ["wine", "digits"]}], ["method.alpha=7"])
    write_rows(file, "one", "A better\nreason.", [when], ["method.alpha=3.5", "method.reference=retain"])
    rows = rows_of(file)
    assert [row.why for row in rows] == ["Mine.", "Another.", "A better\nreason."]
    assert rows[1].when == {"dataset": ("wine", "digits")}
    assert rows[2].set == {"alpha": 3.5, "reference": "retain"}
    assert rows[2].when == {name: (value,) for name, value in when.items()}
    assert file.read_text().startswith(mine)
    applied = rows_for("ssd", "digits", "mlp", "class", [tmp_path])
    assert settings(applied)["alpha"] == 3.5  # what the study has just said to use


def test_the_rows_of_a_study_are_replaced_together(tmp_path: Path) -> None:
    file = tmp_path / "table" / "ssd.yaml"
    conditions = [{"dataset": "digits", "model": "mlp"}, {"dataset": "wine", "model": "linear"}]
    write_rows(file, "one", "Why.", conditions, ["method.alpha=1"])
    write_rows(file, "one", "Better.", conditions, ["method.alpha=2"])
    assert [(row.why, row.set["alpha"]) for row in rows_of(file)] == [("Better.", 2)] * 2
    assert not rows_for("ssd", "wine", "mlp", "class", [tmp_path])


def test_numbers_of_a_row_are_numbers(tmp_path: Path) -> None:
    file = tmp_path / "table" / "scrub.yaml"
    values = ["method.optimizer.lr=1e-05", "method.msteps=3", "method.rewind=true", "method.attack.noise=normal"]
    write_rows(file, "one", "Why.", [{}], values)
    (row,) = rows_of(file)
    assert row.set == {"optimizer": {"lr": 1e-5}, "msteps": 3, "rewind": True, "attack": {"noise": "normal"}}


def test_a_file_that_is_not_a_table_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "table" / "ssd.yaml"
    file.parent.mkdir()
    file.write_text("alpha: 1\n")
    with pytest.raises(UserError) as refused:
        write_rows(file, "one", "Why.", [{}], ["method.alpha=1"])
    assert refused.value.key == "table"
    assert file.read_text() == "alpha: 1\n"
