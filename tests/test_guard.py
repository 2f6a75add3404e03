"""The guard: how it measures what a model keeps of the original, and how it goes back; all derived by hand."""

import functools
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.by_hand import FORGET, LR, RETAIN, SGD, STILL, W, close, gradient
from tests.conftest import CONF, Tiny, composed, names
from unlearning.config.tables import rows_for, rows_of, settings
from unlearning.data.feed import Feed
from unlearning.methods.finetune import FineTune
from unlearning.methods.gradient_ascent import GradientAscent
from unlearning.methods.one_shot import OneShot
from unlearning.methods.ssd import SSD
from unlearning.types import Batch

UNLABELLED = Feed(streams=("retain",), labels=False)


class Put(OneShot):
    """Put the weights somewhere, having seen unlabelled retained samples."""

    feed = replace(UNLABELLED, pairing="max_size", augment=False)

    def __init__(self, tiny: Tiny, to: tuple[float, float], keep: float | None) -> None:
        super().__init__(tiny.model, keep=keep)
        self.to_put = to

    def observe(self, stream: str, batch: Batch) -> None:
        self.add("samples", torch.ones(()))

    def edit(self) -> None:
        self.model[1].weight.copy_(torch.tensor(self.to_put)[:, None])


def test_an_edit_that_keeps_too_little_goes_back_along_the_line(tiny: Tiny) -> None:
    # Pixels are positive, so the class is the sign of w0 - w1 = 1.5 - 5 t on the line from (.5, -1) to (-1.5, 2), and
    # the original's up to t = .3: a half is too far and a quarter is not; of 3/8, 5/16 and 9/32 the last alone is not.
    put = Put(tiny, (-1.5, 2.0), keep=0.9)
    tiny.fit(put)
    close(tiny, W + 9 / 32 * (np.array([-1.5, 2.0]) - W))
    assert [float(way) for way in put.curves["way"]] == [9 / 32]
    assert [float(kept) for kept in put.curves["kept"]] == [1.0]


def test_without_the_rule_an_edit_may_do_anything(tiny: Tiny) -> None:
    put = Put(tiny, (-1.5, 2.0), keep=None)
    tiny.fit(put)
    close(tiny, np.array([-1.5, 2.0]))
    assert not put.curves.keys() & {"way", "kept"}


def test_weights_that_are_not_finite_become_the_originals(tiny: Tiny) -> None:
    put = Put(tiny, (float("nan"), 2.0), keep=0.9)
    tiny.fit(put)
    assert np.array_equal(tiny.weight.numpy(), W)
    assert [float(way) for way in put.curves["way"]] == [0.0]


def test_an_ascent_that_diverges_stops_and_says_so(tiny: Tiny, caplog: pytest.LogCaptureFixture) -> None:
    # Logits less their mean are +-(w0 - w1) x / 2, so the drift is that of w0 - w1, which was 1.5: at most .4 of it.
    w, steps = W, 0
    while abs((w[0] - w[1]) - 1.5) <= 0.4 * 1.5:
        w, steps = w + LR * gradient(w, *FORGET), steps + 1
    ascent = GradientAscent(tiny.model, SGD, epochs=50, keep=0.6)
    tiny.fit(ascent)
    assert len(ascent.curves["forget_loss"]) == steps < 50
    drift = float(tiny.weight[0] - tiny.weight[1]) - 1.5
    assert 0.6 / (1 + 1 / 8) < drift <= 0.6  # as far as allowed, to an eighth
    assert ascent.curves["kept"][-1] >= 0.6 > ascent.curves["kept"][-2]
    (message,) = (record.getMessage() for record in caplog.records if record.name == "unlearning")
    assert "GradientAscent" in message
    assert "method.keep=0.6" in message


def test_a_rate_beyond_all_bounds_leaves_finite_weights(tiny: Tiny) -> None:
    tiny.fit(GradientAscent(tiny.model, functools.partial(torch.optim.SGD, lr=3e38), epochs=5, keep=0.6))
    assert tiny.weight.isfinite().all()


class There(FineTune):
    """Go far beyond the line of decision in the first step, and back in the second."""

    feed = UNLABELLED

    def retain_loss(self, batch: Batch) -> Tensor:
        sign = -1 if self.curves["retain_loss"] else 1
        return sign * (self.model[1].weight[0] - self.model[1].weight[1]).sum() * 4 / LR


def test_a_method_that_may_mend_is_judged_at_its_end(tiny: Tiny) -> None:
    there = There(tiny.model, SGD, epochs=2, keep=0.9)
    tiny.fit(there)
    close(tiny, W)
    assert len(there.curves["retain_loss"]) == 2
    assert "way" not in there.curves


def test_dampening_goes_back_by_a_larger_alpha(tiny: Tiny) -> None:
    # Both weights have the same ratio of importances; an alpha of a third of it selects them until it is tripled.
    ratio = float((gradient(W, *FORGET)[0] / gradient(W, *RETAIN)[0]) ** 2)
    ssd = SSD(tiny.model, alpha=ratio / 3, lam=0.0, reference="retain", keep=0.5)
    tiny.fit(ssd)
    assert ssd.guard is not None
    put = ssd.partway(ssd.guard)
    for part, expected in {0.34: 0 * W, 0.32: W, 1.0: 0 * W, 0.0: W}.items():
        put(part)
        close(tiny, expected)


@pytest.mark.parametrize("make", [FineTune, GradientAscent])
def test_a_rule_that_is_kept_changes_no_bit(make: Callable[..., Any]) -> None:
    free, kept = Tiny(), Tiny()
    slow = functools.partial(torch.optim.SGD, lr=0.01)
    free.fit(make(free.model, slow, epochs=4, batch_size=1))
    kept.fit(make(kept.model, slow, epochs=4, batch_size=1, keep=0.5))
    assert torch.equal(free.weight, kept.weight)


@pytest.mark.parametrize(("weight", "expected"), [((0.5, -1.0), 1.0), ((-1.0, 0.5), 1.0), ((float("inf"), 0.0), 0.0)])
def test_labels_count_where_they_are_seen(tiny: Tiny, weight: tuple[float, float], expected: float) -> None:
    # Of the labels 0 and 1 any finite weights get one right, as the original does.
    method = FineTune(tiny.model, STILL, keep=0.5)
    tiny.fit(method)
    guard = method.guard
    assert guard is not None
    with torch.no_grad():
        tiny.model[1].weight.copy_(torch.tensor(weight)[:, None])
    assert guard.kept() == expected


def test_a_constant_added_to_all_logits_is_no_drift(tiny: Tiny) -> None:
    method = GradientAscent(tiny.model, STILL, keep=0.5)
    tiny.fit(method)
    guard = method.guard
    assert guard is not None
    with torch.no_grad():
        tiny.model[1].weight.add_(7.0)
    assert guard.kept() == pytest.approx(1.0)
    with torch.no_grad():
        tiny.model[1].weight.sub_(7.0).mul_(1.25)
    assert guard.kept() == pytest.approx(0.75)


def test_recipes_run_without_the_rule() -> None:
    config = composed("method=jit", "dataset=cifar100")[0]
    assert config["method"]["keep"] == 0.6
    assert config["pretrain"]["keep"] is None


UNGUARDED = {"gkt": None, "eu_k": None}  # they train from nothing
PUBLISHED = {"cifar10", "cifar20", "cifar100", "pins", "mnist", "svhn"}  # data sets of papers


@pytest.mark.parametrize("method", names("method"))
def test_published_settings_run_as_they_are(method: str) -> None:
    """Wherever a row names a paper and the data that it is about."""
    for row in rows_of(CONF / "table" / f"{method}.yaml"):
        data = PUBLISHED.intersection(row.when.get("dataset", ()))
        if "et al. (" in row.why and data:
            for choices in product(data, row.when.get("model", ("any",)), row.when.get("scenario", ("any",))):
                found = settings(rows_for(method, *choices))
                assert found.get("keep", UNGUARDED.get(method, 1)) is None, choices


SSD_REPOSITORY = product(
    ("amnesiac", "bad_teacher", "fisher", "finetune", "ssd"),
    ("cifar20", "cifar100", "pins"),
    ("resnet18", "vit_b16"),
    ("class", "subclass", "random"),
)
JIT_REPOSITORY = product(
    ("amnesiac", "bad_teacher", "jit", "ssd"), ("cifar10", "cifar20", "cifar100"), ("vgg11",), ("class", "random")
)
FEASIBLE_UPDATES = product(
    ("msg", "conv_transpose", "random_label", "scrub_joint"),
    ("cifar10", "svhn"),
    ("resnet18", "vgg16_bn_mlp"),
    ("class", "random"),
)
OF_CLASSES = product(("unsir",), ("cifar20", "cifar100"), ("resnet18", "vgg11", "vit_b16"), ("class", "subclass"))
CORRECTIVE = product(
    ("scrub", "ssd", "xlf", "potion", "cf_k"),
    ("cifar10", "cifar100"),
    ("resnet9",),
    ("poison", "confusion", "label_shuffle"),
)


@pytest.mark.parametrize(
    "comparison",
    [SSD_REPOSITORY, JIT_REPOSITORY, FEASIBLE_UPDATES, OF_CLASSES, CORRECTIVE],
    ids=["ssd", "jit", "feasible updates", "classes", "corrective"],
)
def test_nothing_is_held_back_in_a_published_comparison(comparison: Iterable[tuple[str, str, str, str]]) -> None:
    """Or else a collapse that a paper reports would become a run that was held back, beside others that are not."""
    held = [choices for choices in comparison if settings(rows_for(*choices)).get("keep", 1) is not None]
    assert held == []


def test_without_a_published_setting_the_rule_holds() -> None:
    """An alpha of 10 in shuffled batches destroys a model of ten classes."""
    for choices in (
        ("cifar10", "resnet18", "class"),
        ("cifar10", "vit_b16", "class"),
        ("image_folder", "vgg11", "class"),
    ):
        assert "keep" not in settings(rows_for("ssd", *choices))
