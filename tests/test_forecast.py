"""What a sweep says that it will cost, over fabricated runs."""

from pathlib import Path

from tests.finished import result, write_finished
from unlearning.report.forecast import duration, forecast

CHOICES = {"dataset": "digits", "model": "small_cnn", "scenario": "class", "method": "scrub", "addon": ""}


def costs(method: str, seconds: float, **parts: object) -> dict[str, object]:
    """A run whose original took 100 s, its retrained model 50 s, and its method as long as that; 10 passes a second."""
    found = result(method=method, cost={}, **parts)
    for row, taken in (("original", 100.0), ("retrained", 50.0), ("unlearned", seconds)):
        found["rows"][row] |= {"cost/seconds": taken, "cost/passes": 10 * taken}
    return found


def test_models_are_counted_once_and_methods_in_every_job(tmp_path: Path) -> None:
    write_finished(tmp_path, costs("ssd", 2.0, seed=0), costs("ssd", 4.0, seed=1), costs("jit", 7.0))
    jobs = [[f"method={method}", f"seed={seed}"] for method in ("ssd", "jit") for seed in range(3)]
    count, cost = forecast(jobs, CHOICES, tmp_path)
    assert count == "runs: 6; trained: at most 3 original and 3 retrained models"
    # 3 x (100 + 50) and 3 x (3 + 7)
    assert cost == "cost: about 4,800 passes and 8.0 min in one process, as finished runs took"


def test_what_was_never_measured_is_named(tmp_path: Path) -> None:
    write_finished(tmp_path, costs("ssd", 2.0))
    (*_, cost) = forecast([["method=ssd"], ["method=potion"], ["method=ssd", "addon=[l1]"]], CHOICES, tmp_path)
    assert "1,520 passes" in cost  # one original and one retrained model, and ssd without an add-on
    assert cost.endswith("; besides potion, ssd+l1, of which none is finished")
    (*_, cost) = forecast([["dataset=cifar10", "seed=0"], ["dataset=cifar10", "seed=1"]], CHOICES, tmp_path)
    assert cost == f"cost: not known: no run like these is finished in {tmp_path}"
    (*_, cost) = forecast([["seed=0"], ["seed=1"]], CHOICES, tmp_path / "none")
    assert "not known" in cost


def test_trials_measure_nothing(tmp_path: Path) -> None:
    write_finished(tmp_path, costs("ssd", 2.0, config={"trial": 8}))
    assert "not known" in forecast([["method=ssd"], ["method=ssd", "seed=1"]], CHOICES, tmp_path)[1]


def test_durations_are_read_at_a_glance() -> None:
    assert [duration(s) for s in (5, 119, 121, 7201)] == ["5 s", "119 s", "2.0 min", "2.0 h"]
