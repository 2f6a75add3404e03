"""Synaptic dampening: importances, thresholds and searches by hand; one look at the data for all that share it."""

import copy
from collections.abc import Iterator
from math import e
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import Tiny, composed
from tests.test_steps import FORGET, RETAIN, W, close, gradient
from unlearning import pipeline
from unlearning.config import build
from unlearning.engine.store import Store
from unlearning.errors import UserError
from unlearning.gradients.importance import percentile, sorted_ratios
from unlearning.gradients.vectors import flatten
from unlearning.methods.alfssd import ALFSSD
from unlearning.methods.assd import ASSD, percentile_for
from unlearning.methods.assd_repair import ASSDRepair
from unlearning.methods.base import Method, OneShot
from unlearning.methods.dampening import Dampening
from unlearning.methods.finetune import FineTune
from unlearning.methods.lfssd import LFSSD
from unlearning.methods.potion import Potion
from unlearning.methods.ssd import SSD
from unlearning.methods.xlf import XLF
from unlearning.models.small_cnn import SmallCNN
from unlearning.pipeline import Run
from unlearning.types import Batch

TRAIN = np.concatenate([FORGET[0], RETAIN[0]]), np.concatenate([FORGET[1], RETAIN[1]])
SETS = {"forget": FORGET, "train": TRAIN, "retain": RETAIN}


def edited(tiny: Tiny, method: OneShot) -> None:
    tiny.fit(method)
    close(tiny, W)  # looking changes nothing
    with torch.no_grad():
        method.edit()


# Importances


def dampened(alpha: float, lam: float, reference: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """SSD with one batch a set: I = gradient of the batch mean, squared."""
    forget, other = gradient(W, *FORGET) ** 2, gradient(W, *reference) ** 2
    return np.where(forget > alpha * other, W * np.minimum(lam * other / forget, 1), W)


@pytest.mark.parametrize(("alpha", "lam"), [(0.1, 0.5), (0.1, 100.0), (100.0, 0.5)])
@pytest.mark.parametrize("reference", ["train", "retain"])
def test_ssd_dampens_what_matters_more_to_the_forget_set(alpha: float, lam: float, reference: str) -> None:
    tiny = Tiny()
    edited(tiny, SSD(tiny.model, alpha=alpha, lam=lam, reference=reference))
    close(tiny, dampened(alpha, lam, SETS[reference]))
    changed = not np.allclose(tiny.weight.numpy(), W)
    assert changed == (alpha == 0.1 and lam == 0.5)  # lam = 100 is capped at 1, alpha = 100 selects nothing


def mean_of_squares(batches: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    return np.mean([gradient(W, *batch) ** 2 for batch in batches], axis=0)


def singles(x: np.ndarray, y: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(x[i : i + 1], y[i : i + 1]) for i in range(len(x))]


def importances(tiny: Tiny, method: Dampening) -> list[np.ndarray]:
    tiny.fit(method)
    return [importance.numpy() for importance in method.importances()]


def test_batch_importance_is_the_mean_over_batches(tiny: Tiny) -> None:
    forget, retain = importances(tiny, SSD(tiny.model, batch_size=1, reference="retain"))
    np.testing.assert_allclose(forget, mean_of_squares(singles(*FORGET)), rtol=1e-5)
    np.testing.assert_allclose(retain, mean_of_squares(singles(*RETAIN)), rtol=1e-5)


def test_batches_by_class_hold_one_class_each(tiny: Tiny) -> None:
    _, train = importances(tiny, SSD(tiny.model, batch_size=2, order="by_class"))
    classes = [(np.array([0.2, 0.4]), np.array([0, 0])), (np.array([1.0, 0.8]), np.array([1, 1]))]
    np.testing.assert_allclose(train, mean_of_squares(classes), rtol=1e-5)
    # any other two batches are mixed, in which the classes' opposite gradients cancel
    mixed = [(np.array([a, b]), np.array([0, 1])) for a, b in [(0.2, 1.0), (0.4, 0.8), (0.2, 0.8), (0.4, 1.0)]]
    assert (train > 1.5 * mean_of_squares(mixed[:2])).all()
    assert (train > 1.5 * mean_of_squares(mixed[2:])).all()


@pytest.mark.parametrize("batch_size", [1, 2, 64])
@pytest.mark.parametrize("reference", ["train", "retain"])
def test_importance_per_sample_is_that_of_batches_of_one(batch_size: int, reference: str) -> None:
    tiny = Tiny()
    method = SSD(tiny.model, importance="per_sample", batch_size=batch_size, reference=reference)
    forget, other = importances(tiny, method)
    np.testing.assert_allclose(forget, mean_of_squares(singles(*FORGET)), rtol=1e-5)
    np.testing.assert_allclose(other, mean_of_squares(singles(*SETS[reference])), rtol=1e-5)
    # the importance of all data comes from its two parts: each of the 4 samples passes once, forward and backward
    assert (method.meter.forward, method.meter.backward) == (4, 4)


def test_against_all_data_alpha_is_bounded_by_the_share_of_the_forget_set(tiny: Tiny) -> None:
    # I_D is at least |D_f| / |D| = 1 / 2 of I_f, whatever the data
    edited(tiny, SSD(tiny.model, importance="per_sample", alpha=2.0))
    close(tiny, W)
    again = Tiny()
    edited(again, SSD(again.model, importance="per_sample", alpha=0.1, lam=0.1))
    assert not np.allclose(again.weight.numpy(), W)


class Embedded(nn.Module):
    """A network with a parameter outside any layer and with a layer that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(1, 4, 3))
        self.layer, self.norm, self.head = nn.Linear(3, 3), nn.LayerNorm(3), nn.Linear(3, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = images.flatten(1)[:, :12].unflatten(1, (4, 3)) + self.position
        return self.head(self.norm(self.layer(self.layer(tokens).relu())).mean(1))


@pytest.mark.parametrize("network", ["small_cnn", "embedded"])
def test_importance_per_sample_is_a_loop_over_the_samples(network: str) -> None:
    torch.manual_seed(0)
    model = (SmallCNN((1, 8, 8), 10) if network == "small_cnn" else Embedded()).eval()
    images, labels = torch.randn(12, 1, 8, 8), torch.randint(10, (12,))
    expected = [torch.zeros_like(p) for p in model.parameters()]
    for image, label in zip(images, labels, strict=True):
        loss = nn.functional.cross_entropy(model(image[None]), label[None])
        for total, one in zip(expected, torch.autograd.grad(loss, list(model.parameters())), strict=True):
            total += one**2
    expected = torch.cat([t.flatten() for t in expected])
    batch = Batch(images, labels, torch.arange(12), torch.ones(12, dtype=torch.bool))
    found = SSD(model, importance="per_sample").squares(batch)
    assert (found - expected).norm() <= 1e-5 * expected.norm()


@pytest.mark.parametrize(("kind", "power"), [(LFSSD, 2), (ALFSSD, 2), (XLF, 1)])
def test_importance_without_labels_is_the_gradient_of_the_norm(kind: type[Dampening], power: int) -> None:
    tiny = Tiny()
    found = importances(tiny, kind(tiny.model, reference="retain"))
    assert not kind.sees_labels
    for importance, (x, _) in zip(found, (FORGET, RETAIN), strict=True):
        # |w x|^2 = |w|^2 x^2, so its gradient is 2 w x^2; that of |w x| = |w| |x| is w |x| / |w|
        squared, plain = 2 * np.abs(W) * np.mean(x**2), np.abs(W) / np.linalg.norm(W) * np.mean(x)
        np.testing.assert_allclose(importance, squared if power == 2 else plain, rtol=1e-5)


def test_importance_per_sample_of_norms_is_refused(tiny: Tiny) -> None:
    with pytest.raises(UserError, match=r"choose method\.importance=batch"):
        LFSSD(tiny.model, importance="per_sample")
    with pytest.raises(UserError, match=r"choose method\.importance=batch"):
        Potion(tiny.model, measure="norm", importance="per_sample")


# ASSD's threshold


def observed(method: Dampening, forget: list[float], retain: list[float], samples: tuple[int, int]) -> Dampening:
    """The method as after a look at two batches a set."""
    for stream, importance, count in zip(("forget", "retain"), (forget, retain), samples, strict=True):
        method.observations[stream] = 2 * torch.tensor(importance)
        method.observations[f"{stream}_batches"] = torch.tensor(2.0)
        method.observations[f"{stream}_samples"] = torch.tensor(float(count))
    return method


def ones(weights: int) -> nn.Linear:
    layer = nn.Linear(weights, 1, bias=False)
    nn.init.ones_(layer.weight)
    return layer


def test_percentile_is_linear_between_neighbours() -> None:
    values = torch.tensor([1.0, 2.0, 3.0, 8.0])
    # position .95 * 3 = 2.85, so 3 + .85 * 5
    assert percentile(values, 95).item() == pytest.approx(7.25)
    assert [percentile(values, p).item() for p in (0, 50, 100)] == pytest.approx([1, 2.5, 8])


def test_ratios_without_a_number_are_left_out() -> None:
    found = sorted_ratios(torch.tensor([1.0, 0.0, 6.0, 0.0, 1.0]), torch.tensor([0.0, 0.0, 2.0, 5.0, 1.0]))
    assert found.tolist() == [0.0, 1.0, 3.0]  # 1 / 0 and 0 / 0 are none


def test_percentile_follows_the_share_of_the_forget_set() -> None:
    assert percentile_for((e - 1) / 100) == pytest.approx(99)  # ln(1 + (e - 1)) = 1
    assert percentile_for(0.0) == 100


@torch.no_grad()
def test_assd_dampens_above_the_percentile_and_zeroes_what_only_the_forget_set_needs() -> None:
    # The retain set needs all but weight 4, no set weight 5. Ratios of the others: 1, 2, 3, 8; their median is 2.5.
    forget, retain = [0.1, 0.4, 0.9, 3.2, 0.001, 0.0], [0.1, 0.2, 0.3, 0.4, 0.0, 0.0]
    method = observed(ASSD(ones(6), percentile=50.0), forget, retain, (1, 1))
    method.edit()
    assert method.model.weight.flatten().tolist() == pytest.approx([1, 1, 1 / 3, 1 / 8, 0, 1])


def test_assd_chooses_the_percentile_by_itself() -> None:
    # 10 of 100 samples: p = 100 - ln 11 = 97.602105. Of 81 ratios it is at position 78.081684, between 7 and 8.
    method = observed(ASSD(ones(81)), [0.0] * 78 + [7.0, 8.0, 9.0], [1.0] * 81, (10, 90))
    assert method.threshold(*method.importances()).item() == pytest.approx(7.081684, abs=2e-6)


def test_a_percentile_outside_its_range_is_refused(tiny: Tiny) -> None:
    with pytest.raises(UserError, match="must lie in"):
        ASSD(tiny.model, percentile=101.0)


# Potion's search

RATIOS = [0.0, 0.0, 0.0, 0.0, 10.0, 8.0, 6.0, 4.0]


def searching(samples_a_batch: int = 4, **options: float) -> Potion:
    """A search over four samples, each of which one weight decides.

    Class 1 scores 1 for every sample through a weight of its own, class 0 scores .7: dampening that weight, by its
    ratio of 4 to 10, makes the sample wrong.
    """
    model = nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.7], [1.0]]).expand(2, 4))
    method = observed(Potion(model, **options), RATIOS, [1.0] * 8, (25, 75))

    def look(stream: str) -> Iterator[Batch]:
        assert stream == "forget"
        for ids in torch.arange(4).split(samples_a_batch):
            yield Batch(torch.eye(4)[ids], torch.ones(len(ids), dtype=torch.long), ids, torch.ones(len(ids)) > 0)

    method.look = look
    method.count_passes()
    return method


@torch.no_grad()
@pytest.mark.parametrize(
    ("rho", "tries", "expected"),
    [
        # s = .01 10^k falls below 100 - ln(1 + 100 s) = 100 - k ln 10 (about). Of 8 ratios n are dampened where
        # p < 100 (8 - n) / 7: one from the start, two from ln(1 + 10^k) > 14.29 (k = 7), three from 28.57 (k = 13).
        (0.75, 1, [1 / 10, 1, 1, 1]),
        (0.74, 8, [1 / 10, 1 / 8, 1, 1]),
        (0.5, 8, [1 / 10, 1 / 8, 1, 1]),
        (0.49, 14, [1 / 10, 1 / 8, 1 / 6, 1]),
        (0.25, 14, [1 / 10, 1 / 8, 1 / 6, 1]),
    ],
)
def test_potion_stops_at_rho_and_dampens_the_original(rho: float, tries: int, expected: list[float]) -> None:
    method = searching(rho=rho, growth=10.0)
    with method.meter.running():
        method.edit()
    assert len(method.curves["percentile"]) == tries
    assert method.curves["percentile"][0].item() == pytest.approx(100 - np.log(2))
    # a try that was not restored would have left 1 / 10 of 1 / 10
    assert method.model.weight[1].tolist() == pytest.approx(expected)
    assert method.model.weight[0].tolist() == pytest.approx([0.7] * 4)
    assert method.meter.forward == 4 * (1 + tries)


@torch.no_grad()
def test_potion_counts_no_further_than_it_must() -> None:
    method = searching(samples_a_batch=1, rho=0.5, growth=10.0)
    with method.meter.running():
        assert method.correct() == 4
        assert method.correct(at_most=1) == 2
    assert method.meter.forward == 4 + 2


@torch.no_grad()
def test_potion_keeps_the_last_try_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    method = searching(rho=0.0, growth=10.0, tries=9)
    method.edit()
    assert method.model.weight[1].tolist() == pytest.approx([1 / 10, 1 / 8, 1, 1])
    assert "after 9 tries" in caplog.text


@torch.no_grad()
def test_potion_ends_when_there_is_nothing_more_to_dampen(caplog: pytest.LogCaptureFixture) -> None:
    # 100 - ln(1 + 100 s) with s = .01 10^k is below 0 from k = 44 on: k = 44 is the 45th try.
    method = searching(rho=0.0, growth=10.0, tries=500)
    method.correct = lambda at_most=1: 4  # a sample that nothing makes it forget
    method.edit()
    assert method.curves["percentile"][-1] == 0
    assert "after 45 tries, at percentile 0.00" in caplog.text


@pytest.mark.parametrize("options", [{"rho": 1.5}, {"growth": 1.0}, {"tries": 0}])
def test_a_search_that_cannot_end_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(UserError, match="growth above 1"):
        Potion(ones(1), **options)


# One look for all


def test_methods_of_equal_importance_share_observations() -> None:
    def key(kind: type[Dampening], **options: object) -> str:
        return repr(kind(ones(1), **options).observation_key())

    def repair(model: nn.Module) -> Method:
        return FineTune(model)

    squared = key(SSD, reference="retain")
    potion = key(Potion, measure="cross_entropy")
    assert squared == key(ASSD) == key(ASSDRepair, repair=repair) == potion == key(SSD, alpha=3, reference="retain")
    assert key(LFSSD, reference="retain") == key(ALFSSD) == key(Potion, measure="squared_norm")
    assert key(XLF) == key(Potion, rho=0.1)
    by_sample = {
        key(kind, importance="per_sample", batch_size=size, order=order, **options)
        for kind, options in [(SSD, {}), (SSD, {"reference": "retain"}), (ASSD, {})]
        for size in (1, 64)
        for order in ("shuffled", "by_class")
    }
    assert len(by_sample) == 1
    others = {key(ALFSSD), key(XLF), key(SSD), key(ASSD, batch_size=3), key(ASSD, order="by_class"), *by_sample}
    assert len(others | {squared}) == 7
    assert ASSD.observer() == SSD.observer() == "unlearning.methods.dampening.Dampening"


class Watched(Run):
    """A run with observations of its own, and a note of the sample passes of every fit."""

    def __init__(self, folder: Path, places: list[str], *overrides: str) -> None:
        super().__init__(composed(*overrides, *places)[0], folder)
        self.fits: list[tuple[str, int, int]] = []
        self.original = self.reference("original")  # from the session's store
        self.fits.clear()
        self.store = Store(folder)

    def fit(self, method: Method, *rest: object) -> None:
        super().fit(method, *rest)
        self.fits.append((rest[0], method.meter.forward, method.meter.backward))

    def edited(self, **options: object) -> tuple[torch.Tensor, dict[str, float]]:
        """The weights and the cost of the method with these options."""
        self.config = self.config | {"method": self.config["method"] | options}
        found = self.unlearned(build.method(self.config, copy.deepcopy(self.original.network)), self.original)
        return flatten(found.network.parameters()).detach(), found.cost


def test_a_sweep_of_fifty_settings_looks_at_the_data_once(
    places: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alike = ["method.importance=batch", "method.order=shuffled"]  # whatever the presets
    ssd, assd, potion = runs = [Watched(tmp_path, places, f"method={n}", *alike) for n in ("ssd", "assd", "potion")]
    monkeypatch.setattr(pipeline, "predict", lambda *_: torch.zeros(1, 1))  # most of a run's time; no matter here
    sweep = [
        *[(ssd, {"reference": "retain", "alpha": alpha, "lam": 1.0}) for alpha in np.geomspace(1, 300, 14).tolist()],
        *[(ssd, {"reference": "retain", "alpha": 50.0, "lam": lam}) for lam in np.linspace(0.1, 5, 12).tolist()],
        *[(assd, {"percentile": percent}) for percent in np.linspace(90, 99.9, 12).tolist()],
        *[(potion, {"rho": rho}) for rho in np.linspace(0, 0.75, 12).tolist()],
    ]
    assert len(sweep) == 50
    weights, costs = zip(*(run.edited(**options) for run, options in sweep), strict=True)
    assert len(torch.stack(weights).unique(dim=0)) >= 40  # neighbouring settings of a search may end alike

    samples, forget = len(ssd.split.train), len(ssd.split.forget)
    assert [fit for run in runs for fit in run.fits] == [("Observing", samples, samples)]  # each sample once
    run_now = [cost["cost/passes_run"] for cost in costs]
    assert run_now[:38] == [2 * samples] + 37 * [0]
    assert all(passes >= 2 * forget and passes % forget == 0 for passes in run_now[38:])  # Potion's tries alone
    assert all(cost["cost/passes"] >= 2 * samples for cost in costs)  # what each would cost by itself is told as well


def test_the_repair_goes_on_from_the_dampened_weights(places: list[str], tmp_path: Path) -> None:
    assd, repair = Watched(tmp_path, places, "method=assd"), Watched(tmp_path, places, "method=assd_repair")
    first, cost = repair.edited()
    again, cost_again = repair.edited()
    assert [title for title, *_ in repair.fits] == ["Observing", "Repairing", "Repairing"]
    assert torch.equal(first, again)  # whether or not this process looked at the data
    dampened, cost_of_dampening = assd.edited()
    assert not torch.equal(first, dampened)
    passes = 2 * 5 * len(repair.split.retain)  # 5 epochs
    assert cost["cost/passes"] == cost_again["cost/passes"] == cost_of_dampening["cost/passes"] + passes
    assert cost_again["cost/passes_run"] == passes
    assert cost_of_dampening["cost/passes_run"] == 0  # the look was made for the repair

    still = {"optimizer": {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.0}}
    assert torch.equal(repair.edited(repair=repair.config["method"]["repair"] | still)[0], dampened)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("method.alpha=0", "alpha must be above 0"),
        ("method.lam=-1", "lam at least 0"),
        ("+method.epochs=3", "no option 'epochs'"),  # a second look would count every sample twice
        ("+method.forget_weight=2", "no option 'forget_weight'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build.method(composed("method=ssd", override)[0], nn.Linear(2, 2))


def test_importances_without_a_finite_ratio_are_explained() -> None:
    with pytest.raises(UserError, match="no weight matters to the retain set"):
        sorted_ratios(torch.tensor([0.0, 1.0]), torch.zeros(2))
