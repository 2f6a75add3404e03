"""What trackers are told of a sweep that is over: every expected value is worked out here."""

from math import sqrt
from pathlib import Path
from typing import Any

import pytest

from tests.finished import result, write_finished
from unlearning.records.tracked import TrackedSweep
from unlearning.report.tracked_sweep import tracked_sweep

WHERE = "here"


@pytest.fixture
def sweep(tmp_path: Path) -> TrackedSweep:
    """Three runs of ssd, one of jit, one of a control, and one that was logged elsewhere."""

    def found(gap: float, on_validation: float, seed: int, method: str = "ssd") -> dict[str, Any]:
        gaps = {"gap/mean": gap, "gap/mean_val": on_validation}
        return result(gap, seed, method=method, gaps=gaps)

    runs = [*(found(gap, 0.1 * (3 - seed), seed) for seed, gap in enumerate((0.1, 0.2, 0.4)))]
    runs += [found(0.05, 0.15, 2, "jit"), result(), found(0.0, 0.0, 2, "retrain")]
    write_finished(tmp_path, *runs)
    folders = sorted(tmp_path.iterdir())
    for number, folder in enumerate(folders):
        (folder / "TRACKED").write_text(f"other x\n{WHERE} id{number}\n")
    (folders[4] / "TRACKED").write_text("elsewhere id9\nof-an-earlier-version\n")
    return tracked_sweep("s", "python run.py -m", "FINISHED", folders, WHERE)


def test_it_names_the_runs_that_were_logged_here_and_the_best(sweep: TrackedSweep) -> None:
    assert sweep.runs == {"id0": "run0", "id1": "run1", "id2": "run2", "id3": "run3", "id5": "run5"}
    assert sweep.best == "id3"  # jit's .15 is lower than ssd's mean of .2, though one of its runs has .1


def test_without_validation_samples_none_is_the_best(tmp_path: Path) -> None:
    write_finished(tmp_path, result())
    (tmp_path / "run0" / "TRACKED").write_text(f"{WHERE} id0\n")
    assert tracked_sweep("s", "python run.py -m", "FINISHED", [tmp_path / "run0"], WHERE).best is None


def test_it_tells_what_varied(sweep: TrackedSweep) -> None:
    assert sweep.varied["method"] == "ssd, jit, retrain"
    assert sweep.varied["seed"] == "0, 1, 2"
    assert not {"dataset", "model", "pretrain.epochs"} & set(sweep.varied)


def test_runs_that_differ_in_seeds_have_a_mean(sweep: TrackedSweep) -> None:
    (mean,) = sweep.means  # jit has a single run
    assert mean.name == "ssd, mean of 3"
    assert mean.tags == {"parts": "id0, id1, id2", "over": "all seeds"}
    assert list(mean.parts) == ["id0", "id1", "id2"]
    assert (mean.params["seed"], mean.params["ssd.alpha"], mean.sweep) == ("0, 1, 2", "10", "s")
    assert mean.metrics["n"] == 3
    assert mean.metrics["forget/acc"] == pytest.approx(0.7 / 3)
    assert mean.metrics["sd/forget/acc"] == pytest.approx(sqrt((16 + 1 + 25) / 900 / 2))
