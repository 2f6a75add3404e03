"""Nothing that is withheld from a method reaches it by any road: its weights are the same whatever that is.

Every method, and every add-on, unlearns two problems from the same original weights. The second has other inputs
wherever the method may see none, other labels wherever it may see none, other finer labels and, where it may not know
them, other classes of the request and other ids of the samples. Both are fitted in one process one after the other, so
what outlasts a run would show, too.
"""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import composed, compute, names
from unlearning.config.build import Spec, specs
from unlearning.config.settings import choice, method_settings
from unlearning.config.validation import target_of
from unlearning.data.datamodule import UnlearningData
from unlearning.data.feed import Feed
from unlearning.engine import fitting
from unlearning.engine.job import Job
from unlearning.errors import UserError
from unlearning.methods.base import Method
from unlearning.methods.ssd import SSD
from unlearning.scenarios.base import Problem
from unlearning.types import Batch

OPTIONS = {  # with which an untrained network passes, in little time
    "influence_filter": {"threshold": 2.0},
    "gkt": {"threshold": 1.0, "pseudo_batches": 2, "student_steps": 1},
    "emmn": {"noise_images": 2, "maximise_steps": 2, "minimise_steps": 2},
    "unsir": {"noise_images": 2, "noise_steps": 2, "copies": 4},
    "jit": {"copies": 2},
    "lfssd": {"alpha": 1.0},
    "scrub": {"rewind": True},
    "potion": {"tries": 2},
}
SHORT = compute(steps=6)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Job]:
    """A job of few samples by scenario."""
    few = ["scenario.classes=[3]", "trial=20", f"paths.root={tmp_path_factory.mktemp('withheld')}"]
    found = {name: Job.of(composed(f"scenario={name}", *few)[0]) for name in ("class", "subclass")}
    return found | {
        "sisa": Job.of(composed("scenario=subclass", "pretrain=sisa", "pretrain.ensemble.shards=2", *few)[0])
    }


class Renumbered(UnlearningData):
    """Gives the samples other ids, the last one first, in what it hands out."""

    def prepare(self, batch: Batch, augment: bool) -> Batch:
        return super().prepare(batch, augment)._replace(ids=len(self.dataset.labels) - 1 - batch.ids)


def otherwise(problem: Problem, access: dict[str, str]) -> Problem:
    """The problem with other values for all that the ``access`` of a method withholds."""
    data, split = problem.data, problem.split
    generator = torch.Generator().manual_seed(7)

    def those(*ids: Tensor) -> Tensor:
        return torch.isin(torch.arange(len(data.labels)), torch.cat([split.test[:0], *ids]))

    def drawn(where: Tensor, values: Tensor, below: int) -> Tensor:
        found = torch.randint(below, values.shape, generator=generator, dtype=values.dtype)
        return torch.where(where.view(-1, *[1] * (values.ndim - 1)), found, values)

    streams = {name: seen for name, seen in access.items() if name != "classes"}
    unseen = ~those(*(split.sets[name] for name in streams))
    unlabelled = ~those(*(split.sets[name] for name, seen in streams.items() if seen != "inputs"))
    coarse = data.labels if data.fine_labels is None else data.fine_labels
    data = replace(
        data,
        inputs=drawn(unseen, data.inputs, 256),
        labels=drawn(unlabelled, data.labels, len(data.classes)),
        fine_labels=drawn(torch.ones_like(unseen), coarse, 10),
    )
    if "classes" not in access:
        split = replace(split, forget_classes=(1,), named_classes=(1, 2))
    return Problem.of(data, split, problem.attack)


def check(job: Job, method: Spec, addons: dict[str, Spec], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Assert that what is withheld changes no weight; whether the weights are the original's."""
    networks = job.lab.architecture.networks(job.problem.data)
    torch.manual_seed(0)
    original = job.network()

    def unlearned(problem: Problem, kind: type[UnlearningData]) -> Method:
        made = job.lab.method(problem, method, addons, copy.deepcopy(original))
        monkeypatch.setattr(fitting, "UnlearningData", UnlearningData if made.feed.labels else kind)
        fitting.fit(made, problem, SHORT, 3, networks)
        return made

    first = unlearned(job.problem, UnlearningData)
    second = unlearned(otherwise(job.problem, first.access), Renumbered)
    before, one, other = (fitting.state_of(network) for network in (original, first.model, second.model))
    assert [key for key, tensor in one.items() if not torch.equal(tensor, other[key])] == []
    return all(torch.equal(tensor, one[key]) for key, tensor in before.items())


def spec_of(name: str) -> Spec:
    """A method with its settings for the digits, in batches of eight samples."""
    node = method_settings(name, OPTIONS.get(name, {}), "digits")[0]
    return Spec("method", node | ({"batch_size": 8} if "batch_size" in node else {}))


@pytest.mark.parametrize("name", names("method"))
def test_what_a_method_may_not_see_changes_nothing(
    name: str, jobs: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    method = spec_of(name)
    job = (
        jobs[name] if name in jobs else jobs["class" if target_of(method.node, "method").knows_classes else "subclass"]
    )
    assert check(job, method, {}, monkeypatch) == (name == "original")


@pytest.mark.parametrize(
    "addon",
    [
        pytest.param(name, marks=() if name in ("saliency", "prob", "sam") else pytest.mark.slow)
        for name in names("addon")
    ],
)
def test_what_a_method_and_its_addon_may_not_see_changes_nothing(
    addon: str, jobs: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The method is the one that may see least of those that can carry the add-on."""
    fewer = {"prune_imp": {"epochs": 1}, "prune_omp": {"epochs": 1}, "saliency_batch": {"of": "loss"}}
    node = choice("addon", addon)[addon] | fewer.get(addon, {})
    needs_labels = addon == "label_smoothing" or "retain" in target_of(node, "addon").needs
    method = spec_of("neggrad_plus" if needs_labels else "jit")
    assert not check(jobs["subclass"], method, specs({addon: node}, "addon"), monkeypatch)


@pytest.mark.parametrize("order", ["by_class", "retain_first"])
def test_no_feed_without_labels_has_an_order_by_class(order: str) -> None:
    """Batches of one class would tell which samples share a label."""
    assert Feed(order=order).labels
    with pytest.raises(UserError) as raised:
        Feed(labels=False, order=order)
    assert (raised.value.key, raised.value.kind) == ("method.order", "conflict")


def test_a_look_without_labels_has_no_order(jobs: dict[str, Job]) -> None:
    """The rows of a data set may be sorted by class, as those of an image folder are."""
    problem = jobs["class"].problem
    data = UnlearningData(problem.data, problem.split, problem.task)
    for labels in (True, False):
        ids = torch.cat([batch.ids for batch in data.batches("retain", torch.device("cpu"), labels, batch_size=5)])
        assert torch.equal(ids.sort().values, problem.split.retain)
        assert torch.equal(ids, problem.split.retain) == labels


def test_an_order_by_finer_class_is_told() -> None:
    ssd = SSD(nn.Linear(1, 1), order="retain_first")
    assert ssd.access == {"forget": "inputs and finer labels", "train": "inputs and finer labels"}
