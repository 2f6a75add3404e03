"""Every ``conf/method/*.yaml``: it composes, runs two steps with every scenario, and sees only what it declares."""

import copy
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import lightning as L
import pytest
import torch
from hydra.utils import get_object
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import OmegaConf

from tests.conftest import composed, names
from unlearning.addons.base import Addon
from unlearning.addons.saliency import Saliency
from unlearning.config import build, catalogue
from unlearning.config.schema import ROOT
from unlearning.data.datamodule import UnlearningData
from unlearning.errors import UserError
from unlearning.methods.base import Method, OneShot
from unlearning.methods.original import Original
from unlearning.pipeline import Run
from unlearning.types import Batch

SCENARIOS = {
    "class": ["scenario=class", "scenario.classes=[3]"],
    "part of a class": ["scenario=class", "scenario.classes=[3]", "scenario.count=20"],
    "random": ["scenario=random", "scenario.count=50"],
    "subclass": ["scenario=subclass", "scenario.classes=[3]"],
    "poison": ["scenario=poison", "scenario.count=50"],
    "confusion, known in part": ["scenario=confusion", "scenario.count=60", "scenario.known=0.5"],
    "table": ["dataset=wine"],
    "class of a table": ["dataset=wine", "scenario=class", "scenario.classes=[0]"],
}
CHOICES = {name: [f"method={name}"] for name in names("method")} | {
    "scrub, rewinding": ["method=scrub", "method.rewind=true"],
    "influence_filter": ["method=influence_filter", "method.threshold=2"],  # to an untrained network all are alike
    "gkt": ["method=gkt", "method.threshold=1"],  # an untrained network is sure of nothing: its gate would stay shut
    "ntk": ["method=ntk", "method.retain_share=0.05"],  # its cost grows with the square of the samples
}
LOOKS = {  # outside of their steps, as the spy must have seen
    "scrub, rewinding": {"forget", "validation"},
    "potion": {"forget"},
    "ntk": {"forget", "retain"},
    "msg": {"forget", "retain"},
    "wood_fisher": {"retain"},
}
REFUSES = {
    ("gkt", "class of a table"): "gkt generates images",
    ("conv_transpose", "table"): "the model has none",
    ("conv_transpose", "class of a table"): "the model has none",
}
PASSES = 4  # of so many steps each: enough for every phase of a method


class Spy(UnlearningData):
    """Notes what it hands out: to steps, after Lightning and the transforms are done with it, and to looks."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.handed: list[tuple[str, Batch]] = []
        self.looked: list[tuple[L.LightningModule | Addon, str, Batch]] = []
        self.who: L.LightningModule | Addon | None = None

    def batches_for(
        self, method: L.LightningModule, name: str, addon: Addon | None = None, *args: object, **options: object
    ) -> Iterator[Batch]:
        self.who = addon or method
        return super().batches_for(method, name, addon, *args, **options)

    def batches(self, name: str, *args: object) -> Iterator[Batch]:
        assert self.who is not None, "a look that no declaration was asked for"
        who, self.who = self.who, None
        return self.noted(who, name, super().batches(name, *args))

    def noted(self, who: L.LightningModule | Addon, name: str, batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            self.looked.append((who, name, batch))
            yield batch

    def check(self, method: Method) -> None:
        """Whoever was handed something had declared it: the stream, its samples alone, and labels or none."""
        known = {**self.split.sets, "train": torch.cat([self.split.forget, self.split.retain])}
        looks = [(name, batch, who.sees_labels) for who, name, batch in self.looked]
        for stream, batch, labels in [(*handed, method.sees_labels) for handed in self.handed] + looks:
            assert torch.isin(batch.ids, known[stream]).all()
            assert (batch.labels is not None) == labels
            assert torch.equal(batch.forget, torch.isin(batch.ids, self.split.forget))
        for who, stream, _ in self.looked:
            assert stream in ({*who.looks} if isinstance(who, Addon) else {*who.streams, *who.looks})
        seen = {stream for stream, *_ in [*self.handed, *looks]}
        labelled = {stream for stream, batch, *_ in [*self.handed, *looks] if batch.labels is not None}
        assert seen == method.access.keys()
        assert labelled == {stream for stream, what in method.access.items() if what == "inputs and labels"}

    def on_after_batch_transfer(self, batch: object, position: int) -> object:
        batch = super().on_after_batch_transfer(batch, position)
        if isinstance(batch, dict):
            self.handed += [(stream, part) for stream, part in batch.items() if part is not None]
        return batch


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("name", CHOICES)
def test_two_steps(name: str, scenario: str, places: list[str], tmp_path: Path) -> None:
    config, _ = composed(*CHOICES[name], *SCENARIOS[scenario], *places)
    data = build.dataset(config)
    split = build.split(config, data)
    torch.manual_seed(0)
    network = build.model(config, data)
    before = copy.deepcopy(network.state_dict())
    if (name, scenario) in REFUSES:
        with pytest.raises(UserError, match=REFUSES[name, scenario]):
            Run(config, tmp_path)  # before anything is trained
        return
    method = build.method(config, network)
    needs_whole = method.needs_forget_classes and not split.forget_classes
    if needs_whole or (name == "unsir" and not split.named_classes):
        why = (
            "forgets whole classes only: use scenario=class without a count" if needs_whole else "that a request names"
        )
        with pytest.raises(UserError, match=why):
            Run(config, tmp_path)
        return
    spy = Spy(data, split, build.task(config, data, split))
    trainer = build.trainer({"trainer": config["trainer"] | {"limit_train_batches": 2}}, min(method.passes, PASSES), [])
    trainer.fit(method, datamodule=spy)
    if isinstance(method, OneShot):
        method.look = partial(spy.batches_for, method)
        with torch.no_grad():
            method.edit()

    after = method.model.state_dict()
    assert all(tensor.isfinite().all() for tensor in after.values() if tensor.is_floating_point())
    changed = any(not torch.equal(tensor, after[key]) for key, tensor in before.items())
    assert changed != isinstance(method, Original)
    if getattr(method, "repair", None) is not None:
        trainer = build.trainer({"trainer": config["trainer"] | {"limit_train_batches": 2}}, method.repair.passes, [])
        trainer.fit(method.repair, datamodule=spy)
    spy.check(method)
    assert {stream for _, stream, _ in spy.looked} >= LOOKS.get(name, set())


ACCESS = {  # what the papers let these see; the others see inputs and labels of what they draw from
    "original": {},
    "emmn": {},
    "gkt": {},
    "unsir": {"retain": "inputs and labels"},
    "retrain": {"retain": "inputs and labels"},
    "finetune": {"retain": "inputs and labels"},
    "gradient_ascent": {"forget": "inputs and labels"},
    "jit": {"forget": "inputs"},
    "bad_teacher": {"train": "inputs"},
    "lfssd": {"forget": "inputs", "train": "inputs"},
    "alfssd": {"forget": "inputs", "retain": "inputs"},
    "xlf": {"forget": "inputs", "retain": "inputs"},
    "assd": {"forget": "inputs and labels", "retain": "inputs and labels"},
    "fisher": {"retain": "inputs"},
}


@pytest.mark.parametrize("name", ACCESS)
def test_data_access_is_what_the_paper_lets_it_see(name: str) -> None:
    config, _ = composed(f"method={name}", "dataset=cifar10")  # the published settings
    assert build.method(config, build.model(composed()[0], build.dataset(composed()[0]))).access == ACCESS[name]


def takes_no_steps(name: str) -> bool:
    """Whether a method is one-shot or the identity."""
    target = OmegaConf.load(ROOT / "conf" / "method" / f"{name}.yaml")._target_
    return issubclass(get_object(target), OneShot | Original)


@pytest.mark.parametrize("addons", ["l1", "saliency", "saliency,l1", "sam,prune,parameter_noise"])
@pytest.mark.parametrize("name", [name for name in names("method") if not takes_no_steps(name)])
def test_addons_work_with_every_first_order_method(name: str, addons: str, places: list[str]) -> None:
    config, _ = composed(*CHOICES[name], f"addon=[{addons}]", *places)
    data = build.dataset(config)
    split = build.split(config, data)
    torch.manual_seed(0)
    method = build.method(config, build.model(config, data))
    trainer = build.trainer({"trainer": config["trainer"] | {"limit_train_batches": 2}}, min(method.passes, PASSES), [])
    start = [p.detach().clone() for p in method.model.parameters()]
    spy = Spy(data, split, build.task(config, data, split))
    trainer.fit(method, datamodule=spy)
    spy.check(method)
    looks = [look for look in spy.looked if isinstance(look[0], Addon)]
    looked = {(type(who).__name__, stream, batch.labels is not None) for who, stream, batch in looks}
    assert looked == ({("Saliency", "forget", True)} if "saliency" in addons else set())
    still = [p.isfinite().all() and p.numel() for p in method.model.parameters()]
    assert all(still)
    if "saliency" in addons and name not in (
        "retrain",
        "eu_k",
        "influence_filter",
        "gkt",
    ):  # these begin by replacing the weights
        weights = zip(start, method.model.parameters(), strict=True)
        kept = sum(int((a == b).sum()) for a, b in weights)
        assert kept >= 0.5 * sum(p.numel() for p in start) - 1


# Checkpoints


class SameDraws(L.Callback):
    """Has a step draw the same numbers, whether the run came to it without a stop or not."""

    def on_train_batch_start(self, trainer: L.Trainer, *_: object) -> None:
        torch.manual_seed(trainer.current_epoch)


FORGET_STEPS = ["method.msteps=null", "method.forget_steps=5"]
RESUMED = {name: CHOICES[name] for name in CHOICES if not takes_no_steps(name.split(",")[0])} | {
    "unsir": ["method=unsir", "method.impair_epochs=2", "method.noise_steps=2"],
    "unsir, then in repair": ["method=unsir", "method.repair_epochs=2", "method.noise_steps=2"],
    "emmn": ["method=emmn", "method.maximise_steps=2", "method.minimise_steps=2"],
    "gkt": [*CHOICES["gkt"], "method.student_steps=2"],
    "bad_teacher": ["method=bad_teacher", "method.retain_share=0.5", "method.batch_size=2000"],
    # Each pass over the forget set has two steps, but the last, which has one: more than its batches, and fewer.
    "scrub, forget set anew": ["method=scrub", *FORGET_STEPS, "method.forget_batch_size=2000"],
    "scrub, passes cut": ["method=scrub", *FORGET_STEPS, "method.forget_batch_size=32"],
    # It leaves out some of the rest of the class, and all others are in a batch.
    "influence_filter": [
        "method=influence_filter",
        "method.threshold=1",
        "scenario.count=20",
        "method.batch_size=2000",
    ],
}
LONGER = ("scrub, rewinding", "scrub, forget set anew", "scrub, passes cut")  # all passes, of up to three batches


@pytest.mark.parametrize("name", RESUMED)
def test_after_a_checkpoint_the_same_batches_and_draws_make_the_same_steps(
    name: str, places: list[str], tmp_path: Path
) -> None:
    """Bit by bit, from the checkpoint of the first pass; and nothing that comes before the steps is done again.

    Neither the order of samples nor the global generators are in it, so the order is fixed here and each step is seeded
    by itself; the seed of the run differs.
    """
    config, _ = composed(*RESUMED[name], "scenario.classes=[0]", *places)  # which comes first
    if "epochs" in config["method"]:
        config["method"]["epochs"] = 3
    data = build.dataset(config)
    split, task = build.split(config, data), build.task(config, data, build.split(config, data))
    torch.manual_seed(0)
    original = build.model(config, data)

    def fit(seed: int, saved: str | None) -> tuple[dict[str, torch.Tensor], int]:
        torch.manual_seed(seed)
        method = build.method(config, copy.deepcopy(original))
        method.order = "by_class"  # which is no draw
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
        trainer.fit(method, datamodule=UnlearningData(data, split, task), ckpt_path=saved)
        return method.model.state_dict(), method.meter.forward

    whole, passes = fit(5, None)
    again, rest = fit(6, str(tmp_path / "epoch=0.ckpt"))
    assert 0 < rest < passes
    assert all(torch.equal(again[key], tensor) for key, tensor in whole.items())


@pytest.mark.parametrize("addon", names("addon"))
def test_every_addon_works_with_a_method_of_two_gradients(addon: str, places: list[str]) -> None:
    config, _ = composed("method=neggrad_plus", f"addon=[{addon}]", *places)
    data = build.dataset(config)
    split = build.split(config, data)
    torch.manual_seed(0)
    method = build.method(config, build.model(config, data))
    spy = Spy(data, split, build.task(config, data, split))
    build.trainer({"trainer": config["trainer"] | {"limit_train_batches": 2}}, 1, []).fit(method, datamodule=spy)
    spy.check(method)
    assert all(torch.stack(curve).isfinite().all() for curve in method.curves.values())
    assert len(method.curves["forget_loss"]) == 2


def test_addons_are_refused_by_a_method_that_takes_no_steps(places: list[str]) -> None:
    config, _ = composed("method=ssd", "addon=[l1]", *places)
    data = build.dataset(config)
    with pytest.raises(UserError, match="takes no steps"):
        build.method(config, build.model(config, data))


def test_a_look_at_what_is_not_declared_is_refused(places: list[str]) -> None:
    config, _ = composed("method=jit", *places)
    data = build.dataset(config)
    split = build.split(config, data)
    method = build.method(config, build.model(config, data))
    seen = UnlearningData(data, split, build.task(config, data, split))
    with pytest.raises(ValueError, match=r"JiT declares the streams \('forget',\) and asks for 'retain'"):
        next(seen.batches_for(method, "retain"))
    assert next(seen.batches_for(method, "forget")).labels is None  # which jit may not see

    class Nosy(Addon):
        looks = ("retain",)

    with pytest.raises(ValueError, match=r"Nosy declares the streams \('retain',\) and asks for 'forget'"):
        next(seen.batches_for(method, "forget", Nosy()))  # what the method may see does not count
    assert next(seen.batches_for(method, "retain", Nosy())).labels is None
    assert next(seen.batches_for(method, "forget", Saliency())).labels is not None


def test_the_catalogue_says_what_an_addon_sees() -> None:
    found = {name: sees for name, sees, _ in catalogue.addons() if sees != "-"}
    assert found == {"saliency": "forget, labels", "prune_omp": "train, labels", "prune_imp": "train, labels"}
