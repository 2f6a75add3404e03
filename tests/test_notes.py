"""A run that is a trial, changed nothing or destroyed the model says so."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import composed
from tests.finished import result
from unlearning.pipeline import run
from unlearning.records import tracked
from unlearning.records.notes import notes
from unlearning.report.run_table import one_line, title
from unlearning.request import Request


def told(
    trial: int | None = None, unchanged: bool = False, before: float | None = 0.9, after: float = 0.9
) -> list[str]:
    request: Any = SimpleNamespace(config={"trial": trial}, label="ssd")
    original = {} if before is None else {"retain/acc": before}
    result: Any = SimpleNamespace(unchanged=unchanged, rows={"original": original, "unlearned": {"retain/acc": after}})
    return notes(request, result)


def test_a_sound_run_needs_no_note() -> None:
    assert told() == []


@pytest.mark.parametrize(("after", "count"), [(0.46, 0), (0.45, 0), (0.449, 1), (0.0, 1)])  # half of .9 is .45
def test_less_than_half_of_the_retain_accuracy_is_a_destroyed_model(after: float, count: int) -> None:
    found = told(after=after)
    assert len(found) == count
    assert all(f"{after:.3f}" in note and "0.900" in note for note in found)


def test_where_accuracy_failed_nothing_is_said_about_it() -> None:
    assert told(before=None, after=0.0) == []


def test_unchanged_weights_and_trials_are_told() -> None:
    (unchanged,), (trial,) = told(unchanged=True), told(trial=64)
    assert "ssd" in unchanged
    assert "64" in trial


def test_a_trial_is_marked_wherever_its_numbers_are_shown() -> None:
    for trial, mark in ((None, ""), (64, "trial: ")):
        found = result(config={"trial": trial}, sizes={"forget": 2, "train": 9})
        found["rows"]["unlearned"]["cost/seconds"] = 1.0
        assert one_line(found).startswith(f"{mark}forget/acc")
        assert title(found).startswith(f"{mark}ssd on digits")
        request = Request(*composed("method=ssd", f"trial={'null' if trial is None else trial}"))
        logged = tracked.described(request, {}, {}, {}, [], "FINISHED", 0.0)
        assert logged.name == f"{mark}ssd digits s0"
        assert ("trial" in logged.tags) == bool(mark)
        assert request.folder.name.startswith("trial-") == bool(mark)


def test_the_original_as_a_method_changes_nothing(places: list[str]) -> None:
    config, choices = composed("method=original", "tracking=none", "pretrain.epochs=1", "evaluation=default", *places)
    found = json.loads((run(Request(config, choices)) / "results.json").read_text())
    assert found["unchanged"]
    assert any("bit-equal" in note for note in found["notes"])
