"""SCRUB+R: which epoch the run goes back to, with errors that are made up or counted by hand."""

import functools
from dataclasses import replace
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from tests.by_hand import SGD, W, given
from tests.conftest import Tiny
from unlearning.errors import UserError
from unlearning.methods.scrub import Scrub


def rewinding(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, errors: list[float], reference: float) -> list[torch.Tensor]:
    """The weights of the epochs of a run whose errors are made up."""
    made_up = iter([*errors, reference])
    monkeypatch.setattr(Scrub, "error", lambda self, batches: torch.tensor(next(made_up)))
    method = Scrub(tiny.model, optimizer=SGD, msteps=2, epochs=3, rewind=True)
    tiny.fit(method)
    assert next(made_up, None) is None
    return [state["1.weight"].flatten() for state in method.states]


@pytest.mark.parametrize(
    ("reference", "epoch"),
    [(0.0, 0), (0.4, 2), (0.9, 3)],  # 0.4 is as near to epoch 1 as to epoch 2: the later one
)
def test_rewind_takes_the_epoch_with_the_nearest_forget_error(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, reference: float, epoch: int
) -> None:
    weights = rewinding(tiny, monkeypatch, [0.0, 0.5, 0.5, 1.0], reference)
    assert len({tuple(w.tolist()) for w in weights}) == 4  # epoch 0 and three more, all different
    assert weights[0].tolist() == W.tolist()
    assert torch.equal(tiny.weight, weights[epoch])


def test_rewind_goes_back_to_before_the_checkpoint_that_a_run_goes_on_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fit(tiny: Tiny, errors: list[float], checkpoint: Path | None) -> Tiny:
        made_up = iter(errors)
        monkeypatch.setattr(Scrub, "error", lambda self, batches: torch.tensor(next(made_up)))
        method = Scrub(tiny.model, optimizer=SGD, msteps=2, epochs=3, rewind=True)
        save = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
        trainer = L.Trainer(
            accelerator="cpu",
            max_epochs=method.passes,
            callbacks=[save],
            logger=False,
            enable_progress_bar=False,
            reload_dataloaders_every_n_epochs=1,
        )
        trainer.fit(method, datamodule=given(tiny, method), ckpt_path=checkpoint)
        assert next(made_up, None) is None
        return tiny

    fit(Tiny(), [0.0, 0.5, 0.5, 1.0, 0.9], None)  # of epochs 0 to 3, and the reference
    again = fit(Tiny((3.0, 4.0)), [0.5, 1.0, 0.1], tmp_path / "epoch=1.ckpt")  # after the two passes of epoch 1
    assert again.weight.tolist() == W.tolist()


def test_rewind_compares_with_validation_samples_of_the_forgotten_classes(tiny: Tiny) -> None:
    # Weights that hardly move say class 0 of everything. Forget sample 1 alone, of class 1; of the validation samples
    # 2 (class 0) and 3 (class 1) the one of class 1 counts: its error is 1, that of both together 1/2.
    tiny.split = replace(tiny.split, forget=torch.tensor([1]), validation=torch.tensor([2, 3]))
    method = Scrub(tiny.model, optimizer=functools.partial(torch.optim.SGD, lr=1e-6), epochs=1, rewind=True)
    errors, error = [], method.error
    method.error = lambda batches: errors.append(error(batches)) or errors[-1]
    tiny.fit(method)
    assert torch.stack(errors).tolist() == [1, 1, 1]  # of forget at epochs 0 and 1, of validation
    assert error(method.look("validation")) == 0.5


def test_rewind_needs_validation_samples(tiny: Tiny) -> None:
    with pytest.raises(UserError) as raised:
        tiny.fit(Scrub(tiny.model, optimizer=SGD, rewind=True))
    assert raised.value.key == "split.validation"


def test_without_rewind_scrub_sees_no_validation_sample(tiny: Tiny) -> None:
    method = Scrub(tiny.model, optimizer=SGD)
    tiny.fit(method)
    assert set(method.access) == {"forget", "retain"}
    with pytest.raises(ValueError, match="validation"):
        next(method.look("validation"))


@pytest.mark.parametrize("counts", [{"msteps": 2, "forget_until": 5}, {"msteps": None}])
def test_maximising_is_counted_in_passes_or_ends_at_a_step(tiny: Tiny, counts: dict) -> None:
    with pytest.raises(UserError) as raised:
        Scrub(tiny.model, optimizer=SGD, **counts)
    assert (raised.value.key, raised.value.kind) == ("method.msteps", "conflict")
