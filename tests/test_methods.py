"""Every method of ``conf/method``: it runs two steps with every scenario, and sees only what it declares."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from tests.conftest import composed, compute, names
from unlearning.addons.base import Addon
from unlearning.addons.saliency import Saliency
from unlearning.config import catalogue
from unlearning.config.build import Spec
from unlearning.config.validation import target_of
from unlearning.data.datamodule import UnlearningData
from unlearning.engine import fitting
from unlearning.engine.job import Job
from unlearning.errors import UserError
from unlearning.methods.base import Method
from unlearning.methods.one_shot import OneShot
from unlearning.methods.original import Original
from unlearning.methods.sisa import SISA
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
    "lfssd": ["method=lfssd", "method.alpha=1"],  # an untrained network has no weight of three times the importance
    "sisa": ["method=sisa", "pretrain=sisa", "pretrain.ensemble.shards=2", "pretrain.ensemble.slices=2"],
    "ntk": ["method=ntk", "method.retain_share=0.05"],  # its cost grows with the square of the samples
}
LOOKS = {  # outside of their steps, as the spy must have seen
    "scrub, rewinding": {"forget", "validation"},
    "potion": {"forget"},
    "ntk": {"forget", "retain"},
    "msg": {"forget", "retain"},
    "wood_fisher": {"retain"},
    "influence_filter": {"forget", "retain"},
}
REFUSES = {  # the setting that the refusal is about
    ("gkt", "class of a table"): "method",
    ("conv_transpose", "table"): "model",
    ("conv_transpose", "class of a table"): "model",
}


LONG = ("emmn", "influence_filter", "ntk", "scrub_joint", "wood_fisher")  # a second and more, so among the slow tests


USUAL = ("finetune", "scrub", "bad_teacher", "unsir", "langevin", "influence_filter")  # one of each kind of course


def often(value: str, always: bool = True) -> Any:
    """A parameter that is tried each time, or else among the slow tests."""
    return value if always else pytest.param(value, marks=pytest.mark.slow)


STEPS = compute(steps=8, limit_train_batches=2)  # enough for every phase of a method
Who = Method | Addon


class Spy(UnlearningData):
    """Notes what it hands out: to steps, after Lightning and the transforms are done with it, and to looks."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)
        self.handed: list[tuple[Who, str, Batch]] = []
        self.looked: list[tuple[Who, str, Batch]] = []
        self.who: Who | None = None

    def batches_for(
        self, method: Method, name: str, asker: Addon | None = None, *args: object, **options: object
    ) -> Iterator[Batch]:
        self.who = asker or method
        return super().batches_for(method, name, asker, *args, **options)

    def batches(self, name: str, *args: object) -> Iterator[Batch]:
        assert self.who is not None, "a look that no declaration was asked for"
        who, self.who = self.who, None
        return self.noted(who, name, super().batches(name, *args))

    def noted(self, who: Who, name: str, batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            self.looked.append((who, name, batch))
            yield batch

    def on_after_batch_transfer(self, batch: object, position: int) -> object:
        batch = super().on_after_batch_transfer(batch, position)
        if isinstance(batch, dict):
            self.handed += [(self.method, stream, part) for stream, part in batch.items() if part is not None]
        return batch

    def check(self, method: Method) -> None:
        """Assert that methods and add-ons received what they declared: the stream, its samples, and labels or none."""
        known = {**self.split.sets, "train": torch.cat([self.split.forget, self.split.retain])}
        for who, stream, batch in self.handed + self.looked:
            assert torch.isin(batch.ids, known[stream]).all()
            assert (batch.labels is not None) == (who.sees_labels if isinstance(who, Addon) else who.feed.labels)
            assert torch.equal(batch.forget, torch.isin(batch.ids, self.split.forget))
        for who, stream, _ in self.handed:
            assert stream in who.streams
        for who, stream, _ in self.looked:
            assert stream in (who.looks if isinstance(who, Addon) else (*who.streams, *who.feed.looks))
        seen = {(stream, batch.labels is not None) for _, stream, batch in self.handed + self.looked}
        assert {stream for stream, _ in seen} == method.access.keys() - {"classes"}
        labelled = {stream for stream, what in method.access.items() if what == "inputs and labels"}
        assert {stream for stream, labels in seen if labels} == labelled


@pytest.fixture
def spies(monkeypatch: pytest.MonkeyPatch) -> list[Spy]:
    """The data modules of a test: one to check a method with, and then that of its fit."""
    made: list[Spy] = []

    def spy(*args: object, **options: object) -> Spy:
        made.append(Spy(*args, **options))
        return made[-1]

    monkeypatch.setattr(fitting, "UnlearningData", spy)
    return made


def network(job: Job) -> torch.nn.Module:
    """A new network, always the same."""
    torch.manual_seed(0)
    return job.network()


def fitted(job: Job, model: torch.nn.Module) -> Method:
    """The job's method after a few steps on ``model``."""
    method = job.lab.method(job.problem, job.method, job.addons, model)
    fitting.fit(method, job.problem, STEPS, 0, job.lab.architecture.networks(job.problem.data))
    return method


def refused_setting(name: str, scenario: str, job: Job) -> str | None:
    """The setting that a method's refusal of a scenario is about, if it refuses it."""
    split = job.problem.split
    needs_whole = target_of(job.method.node, "method").needs_forget_classes and not split.forget_classes
    if needs_whole or (name == "unsir" and not split.named_classes):
        return "scenario"
    return REFUSES.get((name, scenario))


@pytest.mark.parametrize("scenario", [often(scenario, scenario == "class") for scenario in SCENARIOS])
@pytest.mark.parametrize("name", [often(name, name not in LONG) for name in CHOICES])
def test_two_steps(name: str, scenario: str, places: list[str], spies: list[Spy]) -> None:
    job = Job.of(composed(*CHOICES[name], *SCENARIOS[scenario], *places)[0])
    if setting := refused_setting(name, scenario, job):
        with pytest.raises(UserError) as raised:
            job.checked()  # before anything is trained
        assert raised.value.key == setting
        return
    model = network(job)
    before = copy.deepcopy(model.state_dict())
    method = fitted(job, model)
    after = method.model.state_dict()
    changed = any(not torch.equal(tensor, after[key]) for key, tensor in before.items())
    assert changed != isinstance(method, Original)
    spy = spies[-1]  # the first one checked the request
    spy.check(method)
    assert {stream for _, stream, _ in spy.looked} >= LOOKS.get(name, set())


ACCESS = {  # what the papers let these see; the others see inputs and labels of the streams they draw from
    "original": {},
    "emmn": {"classes": "numbers"},
    "gkt": {"classes": "numbers"},
    "unsir": {"retain": "inputs and labels", "classes": "numbers"},
    "retrain": {"retain": "inputs and labels"},
    "finetune": {"retain": "inputs and labels"},
    "gradient_ascent": {"forget": "inputs and labels"},
    "amnesiac": {"train": "inputs and labels", "classes": "numbers"},
    "jit": {"forget": "inputs"},
    "boundary_shrink": {"forget": "inputs and labels"},
    "boundary_expand": {"forget": "inputs"},
    "noisy_sgd": {"retain": "inputs and labels"},
    "sisa": {"retain": "inputs and labels"},
    "compose": {"forget": "inputs and labels", "retain": "inputs and labels"},
    "bad_teacher": {"train": "inputs"},
    "lfssd": {"forget": "inputs", "train": "inputs"},
    "alfssd": {"forget": "inputs", "retain": "inputs"},
    "xlf": {"forget": "inputs", "retain": "inputs"},
    "assd": {"forget": "inputs and labels", "retain": "inputs and labels"},
    "fisher": {"retain": "inputs", "classes": "numbers"},
    "influence_filter": {"forget": "inputs and labels", "retain": "inputs and labels"},
}


@pytest.mark.parametrize("name", ACCESS)
def test_data_access_is_what_the_paper_lets_it_see(name: str) -> None:
    published = composed(f"method={name}", "dataset=cifar10", "model=resnet18")[0]["method"]
    assert Spec("method", published).build(model=torch.nn.Linear(2, 2)).access == ACCESS[name]


def takes_no_steps(name: str) -> bool:
    """Whether a method is one-shot, the identity, or a training of parts."""
    return issubclass(target_of(composed(f"method={name}")[0]["method"], "method"), OneShot | Original | SISA)


# The filter takes add-ons for the training that follows its edit.
STEPPING = [name for name in names("method") if not takes_no_steps(name) or name == "influence_filter"]
REPLACING = ("retrain", "eu_k", "influence_filter", "gkt", "compose")  # they begin by replacing the weights


@pytest.mark.parametrize(
    "addons",
    [often("saliency,l1"), *(often(stack, False) for stack in ("l1", "saliency", "sam,prune,parameter_noise"))],
)
@pytest.mark.parametrize("name", [often(name, name in USUAL) for name in STEPPING])
def test_addons_work_with_every_first_order_method(name: str, addons: str, places: list[str], spies: list[Spy]) -> None:
    job = Job.of(composed(*CHOICES[name], f"addon=[{addons}]", *places)[0])
    if "saliency" in addons and name in REPLACING:  # its mask is of the original's weights
        with pytest.raises(UserError) as raised:
            job.checked()
        assert (raised.value.key, raised.value.kind) == ("addon", "conflict")
        return
    model = network(job)
    start = [p.detach().clone() for p in model.parameters()]
    method = fitted(job, model)
    spy = spies[-1]  # the first one checked the request
    spy.check(method)
    looked = {(type(w).__name__, stream, b.labels is not None) for w, stream, b in spy.looked if isinstance(w, Addon)}
    assert looked == ({("Saliency", "forget", True)} if "saliency" in addons else set())
    if "saliency" in addons:
        kept = sum(int((a == b).sum()) for a, b in zip(start, method.model.parameters(), strict=True))
        assert kept >= 0.5 * sum(p.numel() for p in start) - 1


@pytest.mark.parametrize("addon", [often(name, name != "prune_imp") for name in names("addon")])
def test_every_addon_works_with_a_method_of_two_gradients(addon: str, places: list[str], spies: list[Spy]) -> None:
    job = Job.of(composed("method=neggrad_plus", f"addon=[{addon}]", "method.epochs=1", *places)[0])
    method = fitted(job, network(job))
    spy = spies[-1]  # the first one checked the request
    spy.check(method)
    assert all(torch.stack(curve).isfinite().all() for curve in method.curves.values())
    assert len(method.curves["forget_loss"]) == 2


def test_addons_are_refused_by_a_method_that_takes_no_steps(places: list[str]) -> None:
    with pytest.raises(UserError) as raised:
        Job.of(composed("method=ssd", "addon=[l1]", *places)[0]).checked()
    assert (raised.value.key, raised.value.kind) == ("addon", "conflict")


def test_addons_of_a_training_that_follows_an_edit_are_checked_before_anything_is_trained(places: list[str]) -> None:
    """SalUn's mask of a batch needs a forget batch in each step, and the filter's training does not have one."""
    with pytest.raises(UserError) as raised:
        Job.of(composed("method=influence_filter", "addon=[saliency_batch]", *places)[0]).checked()
    assert (raised.value.key, raised.value.kind) == ("addon", "conflict")


def test_a_look_at_what_is_not_declared_is_refused(places: list[str]) -> None:
    job = Job.of(composed("method=jit", *places)[0])
    method = job.checked()
    method.data = UnlearningData(job.problem.data, job.problem.split, job.problem.task)
    with pytest.raises(ValueError, match="retain"):
        next(method.look("retain"))
    assert next(method.look("forget")).labels is None  # which jit may not see

    class Nosy(Addon):
        looks = ("retain",)

    with pytest.raises(ValueError, match="forget"):
        next(method.look("forget", Nosy()))  # what the method may see does not count
    assert next(method.look("retain", Nosy())).labels is None
    assert next(method.look("forget", Saliency())).labels is not None


def test_the_catalogue_says_what_an_addon_sees() -> None:
    found = {name: sees for name, sees, _ in catalogue.addons() if sees != "-"}
    assert found == {"saliency": "forget, labels", "prune_omp": "train, labels", "prune_imp": "train, labels"}
