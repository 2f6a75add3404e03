"""Settings of the trainer that would make a run something else than it says are refused."""

from typing import Any

import pytest

from tests.conftest import Tiny, composed, compute
from unlearning.config.trainer import check_trainer
from unlearning.engine.predict import predict
from unlearning.errors import UserError

SHORT: list[tuple[str, Any]] = [  # True is equal to 1.0, and a whole 1 is one batch
    *(("limit_train_batches", value) for value in (0, 1, 3, 0.5, True)),
    *(("limit_predict_batches", value) for value in (0, 1, 0.9)),
    *(("fast_dev_run", value) for value in (True, 1, 3)),
    *(("overfit_batches", value) for value in (1, 0.5, 1.0)),
    *(("max_steps", value) for value in (0, 1, 1000)),
    *((name, 2) for name in ("min_steps", "min_epochs")),
    ("max_time", "00:00:00:01"),
    ("use_distributed_sampler", False),
]


@pytest.mark.parametrize(("name", "value"), SHORT)
def test_what_cuts_data_short_is_for_trials_alone(name: str, value: Any) -> None:
    with pytest.raises(UserError) as error:
        check_trainer({name: value}, None)
    assert (error.value.key, error.value.kind) == (f"trainer.{name}", "conflict")
    check_trainer({name: value}, 64)


def test_what_cuts_nothing_short_is_taken() -> None:
    check_trainer({"overfit_batches": 0, "fast_dev_run": 0, "min_epochs": 0, "min_steps": 0}, None)
    whole = {"limit_train_batches": 1.0, "limit_predict_batches": 1.0, "overfit_batches": 0.0, "max_steps": -1}
    check_trainer(whole | {"fast_dev_run": False, "use_distributed_sampler": True}, None)
    check_trainer(dict.fromkeys([name for name, _ in SHORT]), None)
    check_trainer({"gradient_clip_val": 0.5, "accumulate_grad_batches": 2, "predict_batch_size": 1}, None)
    check_trainer({"gradient_clip_val": None}, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("gradient_clip_val", value) for value in (-1, -0.5, 0, 0.0, float("inf"), float("nan"), True, "1")),
        *(("gradient_clip_algorithm", value) for value in ("foo", "Norm", 1)),
        *(("accumulate_grad_batches", value) for value in (0, -1, 1.5, True, None)),
        *(("predict_batch_size", value) for value in (0, -1, 2.5, "8", None)),
    ],
)
@pytest.mark.parametrize("trial", [None, 64])
def test_numbers_that_cannot_be_are_refused_in_trials_too(name: str, value: Any, trial: int | None) -> None:
    with pytest.raises(UserError) as error:
        check_trainer({name: value}, trial)
    assert (error.value.key, error.value.kind) == (f"trainer.{name}", "value")


def test_the_command_line_is_checked() -> None:
    for words in (["+trainer.limit_predict_batches=1"], ["debug=fast", "trial=null"]):
        with pytest.raises(UserError) as error:
            composed(*words)
        assert error.value.key.startswith("trainer.limit_")
    assert composed("debug=fast")[0]["trainer"]["limit_train_batches"] == 2


@pytest.mark.parametrize("cut", [{"limit_predict_batches": 1}, {"fast_dev_run": True}])
def test_samples_that_were_not_predicted_never_count(tiny: Tiny, cut: dict[str, Any]) -> None:
    """Not even in a trial: their logits would all be 0."""
    with pytest.raises(UserError) as error:
        predict(tiny.model, tiny.problem, compute(predict_batch_size=2, **cut))
    assert (error.value.key, error.value.kind) == ("trainer.limit_predict_batches", "conflict")
    assert "2 of 4" in str(error.value)
