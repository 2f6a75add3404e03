"""Add-ons that need one gradient of a step, derived by hand: SAM, label smoothing, noise, l1."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch import Tensor, nn

from tests.conftest import Tiny
from tests.test_steps import FORGET, LR, RETAIN, SGD, W, close, gradient
from unlearning.addons.l1 import L1
from unlearning.addons.label_smoothing import LabelSmoothing
from unlearning.addons.parameter_noise import ParameterNoise
from unlearning.addons.sam import SAM
from unlearning.errors import UserError
from unlearning.gradients.sign_attack import SignAttack
from unlearning.methods.finetune import FineTune
from unlearning.methods.langevin import Langevin
from unlearning.methods.neggrad_plus import NegGradPlus
from unlearning.types import Batch


@pytest.mark.parametrize("adaptive", [True, False])
def test_sam_steps_by_the_gradient_at_the_worst_weights_nearby(tiny: Tiny, adaptive: bool) -> None:
    method = FineTune(tiny.model, SGD, addons=[SAM(rho=0.3, adaptive=adaptive)])
    tiny.fit(method)
    g = gradient(W, *RETAIN)
    offset = W**2 * g / np.linalg.norm(W * g) if adaptive else g / np.linalg.norm(g)
    close(tiny, W - LR * gradient(W + 0.3 * offset, *RETAIN))
    (loss,) = method.curves["retain_loss"]
    x, y = RETAIN
    assert loss.item() == pytest.approx(-log_softmax(np.outer(x, W), axis=1)[np.arange(2), y].mean())  # not nearby
    assert (method.meter.forward, method.meter.backward) == (4, 4)


def test_sam_ascends_on_the_weighted_sum_of_both_losses(tiny: Tiny) -> None:
    tiny.fit(NegGradPlus(tiny.model, SGD, forget_weight=0.2, retain_weight=0.8, addons=[SAM(rho=0.3)]))

    def d(w: np.ndarray) -> np.ndarray:
        return 0.8 * gradient(w, *RETAIN) - 0.2 * gradient(w, *FORGET)

    close(tiny, W - LR * d(W + 0.3 * W**2 * d(W) / np.linalg.norm(W * d(W))))


def test_sam_draws_the_same_numbers_twice_and_moves_batchnorm_once(tiny: Tiny) -> None:
    drawn = []

    class Noisy(FineTune):
        def retain_loss(self, batch):
            drawn.append(torch.rand(()).item())
            return super().retain_loss(batch)

    tiny.model.insert(1, nn.BatchNorm1d(1))
    tiny.fit(Noisy(tiny.model, SGD, epochs=3, addons=[SAM(rho=0.1)]))
    assert drawn[::2] == drawn[1::2]
    assert len(set(drawn)) == 3
    assert tiny.model[1].num_batches_tracked == 3
    # x = .4, .8: mean .6; the running mean starts at 0 and moves a tenth of the way each time
    assert tiny.model[1].running_mean.item() == pytest.approx(0.6 * (1 - 0.9**3), rel=1e-5)


def test_sam_attacks_with_the_same_noise_twice(tiny: Tiny) -> None:
    points = []

    class Heard(Langevin):
        def nearest(self, batch: Batch) -> tuple[Tensor, Tensor]:
            found = super().nearest(batch)
            points.append(found[0][batch.ids.argsort()])  # of the original, which does not move
            return found

    attack = SignAttack(radius=0.3, step_size=0.05, random_start=True)
    tiny.fit(Heard(tiny.model, attack, optimizer=SGD, epochs=3, addons=[SAM(rho=0.1)]))
    first, second = torch.stack(points[::2]), torch.stack(points[1::2])
    assert torch.equal(first, second)
    assert len(first.unique(dim=0)) == 3


def test_label_smoothing_smooths_every_cross_entropy(tiny: Tiny) -> None:
    method = NegGradPlus(tiny.model, SGD, forget_weight=0.2, retain_weight=0.8, addons=[LabelSmoothing(0.3)])
    tiny.fit(method)

    def smooth(x: np.ndarray, y: np.ndarray) -> np.ndarray:  # 1 - .3 + .15 for the label, .15 for the other class
        other = gradient(W, x, 1 - y)
        return 0.85 * gradient(W, x, y) + 0.15 * other

    close(tiny, W - LR * (0.8 * smooth(*RETAIN) - 0.2 * smooth(*FORGET)))


def test_parameter_noise_has_the_temperature(tiny: Tiny) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(200, 200, bias=False)
    before = layer.weight.detach().clone()
    addon = ParameterNoise(temperature=0.02)
    with torch.no_grad():
        addon.after_step(None, torch.optim.SGD(layer.parameters(), lr=0.25))
    noise = layer.weight.detach() - before
    assert noise.std().item() == pytest.approx((2 * 0.25 * 0.02) ** 0.5, rel=0.02)
    assert abs(noise.mean().item()) < 2e-3
    tiny.fit(FineTune(tiny.model, SGD, addons=[ParameterNoise(1e-12)]))
    assert (tiny.weight - torch.tensor(W - LR * gradient(W, *RETAIN))).abs().max() < 1e-5


def test_a_penalty_in_no_epoch_is_refused(tiny: Tiny) -> None:
    with pytest.raises(UserError) as caught:
        tiny.fit(FineTune(tiny.model, SGD, epochs=3, addons=[L1(free=3)]))
    assert caught.value.key == "addon.l1.free"


def test_the_l1_penalty_falls_to_zero_before_the_free_epochs() -> None:
    addon = L1(weight=0.6, free=2)  # of five epochs three have a penalty: 1, 2/3 and 1/3 of the weight
    assert [addon.weight_at(epoch, epochs=5) for epoch in range(5)] == pytest.approx([0.6, 0.4, 0.2, 0, 0])
