"""Synaptic dampening: importances and thresholds by hand; see ``by_hand``."""

from math import e

import numpy as np
import pytest
import torch
from torch import nn

from tests.by_hand import FORGET, RETAIN, W, check_options, close, gradient, observe, observed, ones
from tests.conftest import Tiny
from unlearning.errors import UserError
from unlearning.gradients.importance import percentile, sorted_ratios
from unlearning.methods.alfssd import ALFSSD
from unlearning.methods.assd import ASSD, percentile_for
from unlearning.methods.dampening import Dampening
from unlearning.methods.lfssd import LFSSD
from unlearning.methods.one_shot import OneShot
from unlearning.methods.ssd import SSD
from unlearning.methods.xlf import XLF
from unlearning.models.small_cnn import SmallCNN
from unlearning.types import Batch

TRAIN = np.concatenate([FORGET[0], RETAIN[0]]), np.concatenate([FORGET[1], RETAIN[1]])
SETS = {"forget": FORGET, "train": TRAIN, "retain": RETAIN}


def edited(tiny: Tiny, method: OneShot) -> None:
    observe(tiny, method)
    close(tiny, W)  # looking changes nothing
    with torch.no_grad():
        method.edit()


# Importances


def dampened(alpha: float, lam: float, reference: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """SSD with one batch per set: I = gradient of the batch mean, squared."""
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
    observe(tiny, method)
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


VALUES = {  # of a sample's logits (1, C) and label (1,); and the power of its gradient
    SSD: (nn.functional.cross_entropy, 2),
    LFSSD: (lambda logits, _: (logits**2).sum(), 1),
    XLF: (lambda logits, _: (logits**2).sum().sqrt(), 1),
}


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("network", ["small_cnn", "embedded"])
def test_importance_per_sample_is_a_loop_over_the_samples(network: str, kind: type[Dampening]) -> None:
    torch.manual_seed(0)
    model = (SmallCNN((1, 8, 8), 10) if network == "small_cnn" else Embedded()).eval()
    images, labels = torch.randn(12, 1, 8, 8), torch.randint(10, (12,))
    value, power = VALUES[kind]
    expected = [torch.zeros_like(p) for p in model.parameters()]
    for image, label in zip(images, labels, strict=True):
        one = value(model(image[None]), label[None])
        for total, own in zip(expected, torch.autograd.grad(one, list(model.parameters())), strict=True):
            total += own.abs() ** power
    expected = torch.cat([t.flatten() for t in expected])
    batch = Batch(images, labels, torch.arange(12), torch.ones(12, dtype=torch.bool))
    found = kind(model, importance="per_sample").sum_of_sizes(batch)
    assert (found - expected).norm() <= 1e-5 * expected.norm()


@pytest.mark.parametrize(("kind", "power"), [(LFSSD, 2), (ALFSSD, 2), (XLF, 1)])
def test_importance_without_labels_is_the_gradient_of_the_norm(kind: type[Dampening], power: int) -> None:
    tiny = Tiny()
    found = importances(tiny, kind(tiny.model, reference="retain"))
    assert not kind.feed.labels
    for importance, (x, _) in zip(found, (FORGET, RETAIN), strict=True):
        # |w x|^2 = |w|^2 x^2, so its gradient is 2 w x^2; that of |w x| = |w| |x| is w |x| / |w|
        squared, plain = 2 * np.abs(W) * np.mean(x**2), np.abs(W) / np.linalg.norm(W) * np.mean(x)
        np.testing.assert_allclose(importance, squared if power == 2 else plain, rtol=1e-5)


# ASSD's threshold


def test_percentile_is_linear_between_neighbours() -> None:
    values = torch.tensor([1.0, 2.0, 3.0, 8.0])
    # position .95 * 3 = 2.85, so 3 + .85 * 5
    assert percentile(values, 95).item() == pytest.approx(7.25)
    assert [percentile(values, p).item() for p in (0, 50, 100)] == pytest.approx([1, 2.5, 8])


def test_ratios_without_a_number_are_left_out() -> None:
    found = sorted_ratios(torch.tensor([1.0, 0.0, 6.0, 0.0, 1.0]), torch.tensor([0.0, 0.0, 2.0, 5.0, 1.0]))
    assert found.tolist() == [0.0, 1.0, 3.0]  # 1 / 0 and 0 / 0 are left out


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


@torch.no_grad()
@pytest.mark.parametrize(("alpha", "share"), [(2.0, 0.5), (3.9, 0.5), (4.0, 0.25), (5.0, 0.25)])
def test_the_share_of_dampened_weights_and_the_largest_useful_alpha_are_told(alpha: float, share: float) -> None:
    """Ratios 4, 1, 0 / 0 and 3 / 0: the last is above any alpha, and the others are not from 4 on."""
    method = observed(SSD(ones(4), alpha=alpha, reference="retain"), [4.0, 1.0, 0.0, 3.0], [1.0, 1.0, 0.0, 0.0], (1, 1))
    method.edit()
    found = {name: torch.stack(values).tolist() for name, values in method.curves.items()}
    assert found == {"alpha_bound": [4.0], "dampened_share": [share]}


@torch.no_grad()
def test_weights_that_alpha_selects_and_nothing_dampens_are_not_counted() -> None:
    """Ratios of .5 to 3 are above alpha = .1; the factor lam / ratio is below 1 for those above lam = 1 alone."""
    method = observed(SSD(ones(4), alpha=0.1, reference="retain"), [0.5, 1.0, 2.0, 3.0], [1.0] * 4, (1, 1))
    method.edit()
    assert method.model.weight.flatten().tolist() == pytest.approx([1, 1, 1 / 2, 1 / 3])
    assert method.curves["dampened_share"] == [0.5]


def test_assd_chooses_the_percentile_by_itself() -> None:
    # 10 of 100 samples: p = 100 - ln 11 = 97.602105. Of 81 ratios it is at position 78.081684, between 7 and 8.
    method = observed(ASSD(ones(81)), [0.0] * 78 + [7.0, 8.0, 9.0], [1.0] * 81, (10, 90))
    assert method.threshold(*method.importances()).item() == pytest.approx(7.081684, abs=2e-6)


def test_a_percentile_outside_its_range_is_refused() -> None:
    check_options(ASSD, percentile=100.0)
    for wrong in (-1.0, 101.0):
        with pytest.raises(UserError) as raised:
            check_options(ASSD, percentile=wrong)
        assert (raised.value.key, raised.value.kind) == ("method.percentile", "value")


@pytest.mark.parametrize(
    ("option", "value", "kind"),
    [
        ("alpha", 0.0, "value"),
        ("lam", -1.0, "value"),
        ("epochs", 3, "key"),  # a second look would count every sample twice
        ("forget_weight", 2.0, "key"),
    ],
)
def test_settings_that_make_no_sense_are_refused(option: str, value: float, kind: str) -> None:
    with pytest.raises(UserError) as raised:
        check_options(SSD, **{option: value})
    assert (raised.value.key, raised.value.kind) == (f"method.{option}", kind)


def test_importances_without_a_finite_ratio_are_explained() -> None:
    with pytest.raises(UserError) as raised:
        sorted_ratios(torch.tensor([0.0, 1.0]), torch.zeros(2))
    assert raised.value.kind == "diverged"
