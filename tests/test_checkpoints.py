"""A run that goes on from a Lightning checkpoint takes the same steps as one that was not interrupted."""

import copy
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from tests.conftest import composed
from tests.test_methods import CHOICES, network, often, takes_no_steps
from unlearning.data.datamodule import UnlearningData
from unlearning.data.feed import Feed
from unlearning.engine.job import Job


class Unshuffled(UnlearningData):
    """Hands out the samples of each pass in the same order."""

    def loader(self, name: str, feed: Feed) -> DataLoader[Any]:
        made = super().loader(name, feed)
        return DataLoader(made.dataset, made.batch_size, drop_last=made.drop_last, collate_fn=made.collate_fn)


class SameDraws(L.Callback):
    """Makes a step draw the same numbers, whether or not the run was interrupted before it."""

    def on_train_batch_start(self, trainer: L.Trainer, *_: object) -> None:
        torch.manual_seed(trainer.current_epoch)


RESUMED = {name: CHOICES[name] for name in CHOICES if not takes_no_steps(name.split(",")[0])} | {
    "unsir": ["method=unsir", "method.impair_epochs=2", "method.noise_steps=2"],
    "unsir, then in repair": ["method=unsir", "method.repair_epochs=2", "method.noise_steps=2"],
    "emmn": ["method=emmn", "method.maximise_steps=2", "method.minimise_steps=2"],
    "gkt": [*CHOICES["gkt"], "method.student_steps=2"],
    "bad_teacher": ["method=bad_teacher", "method.retain_share=0.5", "method.batch_size=2000"],
    # An epoch has some 35 steps, so two begin before step 40.
    "scrub, until a step": ["method=scrub", "method.msteps=null", "method.forget_until=40", "method.maximise=loss"],
}
LONGER = ("scrub, rewinding", "scrub, until a step")  # all passes, of up to three batches
WITH_STATE = ("bad_teacher", "emmn", "finetune", "gkt", "scrub, rewinding", "unsir", "unsir, then in repair")


@pytest.mark.parametrize("name", [often(name, name in WITH_STATE) for name in RESUMED])
def test_after_a_checkpoint_the_same_batches_and_draws_make_the_same_steps(
    name: str, places: list[str], tmp_path: Path
) -> None:
    """Runs from the checkpoint of the first pass are bit-equal, and nothing that comes before the steps is done again.

    A checkpoint holds neither the order of samples nor the state of the global generators. So the order is fixed here
    and each step is seeded by itself, while the seed of the run differs.
    """
    job = Job.of(composed(*RESUMED[name], "scenario.classes=[0]", *places)[0])  # the class that comes first
    unlearning = job.method.having(epochs=3) if "epochs" in job.method.node else job.method
    problem, networks = job.problem, job.lab.architecture.networks(job.problem.data)
    original = network(job)

    def fit(seed: int, saved: str | None) -> tuple[dict[str, torch.Tensor], int]:
        torch.manual_seed(seed)
        method = job.lab.method(problem, unlearning, {}, copy.deepcopy(original))
        method.data = Unshuffled(problem.data, problem.split, problem.task, networks)
        save = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, every_n_epochs=1)
        trainer = L.Trainer(
            accelerator="cpu",
            max_epochs=method.passes if name in LONGER else min(method.passes, 3),
            limit_train_batches=3 if name in LONGER else 1,
            callbacks=[save, SameDraws()],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            reload_dataloaders_every_n_epochs=1,
        )
        trainer.fit(method, datamodule=method.data, ckpt_path=saved)
        return method.model.state_dict(), method.meter.forward

    whole, passes = fit(5, None)
    again, rest = fit(6, str(tmp_path / "epoch=0.ckpt"))
    assert 0 < rest < passes
    assert all(torch.equal(again[key], tensor) for key, tensor in whole.items())
