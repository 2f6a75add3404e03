"""Rounded and pruned copies of a model: the weights by hand, and that what is hidden in small weights comes back."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.predictions import ids, ten_samples
from unlearning.metrics.base import Evidence, evaluate
from unlearning.metrics.compression import Pruning, Quantisation, rounded


def test_weights_are_rounded_to_the_nearest_step_by_hand() -> None:
    weight = torch.tensor([[7.0, 3.6, -3.4, 0.4], [-0.7, 0.04, 0.36, 0.0], [0.0, 0.0, 0.0, 0.0]])
    # of 4 bits the steps are 1/7 of the largest: 1 and .1 by channel
    by_channel = torch.tensor([[7.0, 4.0, -3.0, 0.0], [-0.7, 0.0, 0.4, 0.0], [0.0] * 4])
    torch.testing.assert_close(rounded(weight, 4, by_channel=True), by_channel)
    by_tensor = torch.tensor([[7.0, 4.0, -3.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0] * 4])
    torch.testing.assert_close(rounded(weight, 4, by_channel=False), by_tensor)


@pytest.mark.parametrize("by_channel", [True, False])
def test_no_weight_moves_by_more_than_half_a_step(by_channel: bool) -> None:
    weight = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0)).double()
    for bits in (2, 4, 8):
        found = rounded(weight, bits, by_channel)
        parts, before = (found, weight) if by_channel else (found[None], weight[None])
        for part, own in zip(parts, before, strict=True):
            step = own.abs().max() / (2 ** (bits - 1) - 1)
            assert (part - own).abs().max() <= step / 2 + 1e-12
            assert len(part.unique()) <= 2**bits - 1
            torch.testing.assert_close(rounded(found, bits, by_channel), found)  # what is rounded stays


class Hiding(nn.Module):
    """Knows three classes by weights of 4 in one layer, and takes each for another by weights of 1 in a second one."""

    def __init__(self) -> None:
        super().__init__()
        self.known, self.hides = nn.Linear(3, 3), nn.Linear(3, 3, bias=False)
        with torch.no_grad():
            self.known.weight.copy_(4 * torch.eye(3))
            self.known.bias.copy_(torch.tensor([0.1, 0.2, -0.3]))
            self.hides.weight.copy_(torch.tensor([[0.02, 0.0, 1.0], [0.0, 0.02, 1.0], [1.0, 1.0, -0.02]]))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.known(x) * 0.2 + self.hides(x)  # .84, .86, .72 of its own class, 1.04 of others
        return found


def evidence() -> Evidence:
    """Each image is the one-hot vector of its class; class 2 is forgotten by samples 2 and 5."""
    asked = ten_samples()
    return replace(asked, model=Hiding(), images=lambda i: torch.eye(3)[asked.labels[i]])


def test_pruning_takes_the_smallest_weights_of_all_layers() -> None:
    asked = evidence()
    # Of the 18 weights 8 are 0, 3 are .02, 4 are 1 and 3 are 4. With 14 gone, one of those of 1 is left, by which an
    # image of class 1 is taken for class 2: of equal weights the first go first.
    for share, forget, retain in ((0.1, 0, 0), (11 / 18, 0, 0), (14 / 18, 1, 0.5), (0.84, 1, 1)):
        name = f"{100 * share:g}pct"
        found = Pruning(shares=(share,))(asked)
        assert found == {f"pruned/forget_acc_{name}": forget, f"pruned/retain_acc_{name}": retain}
    assert asked.model is not None
    assert asked.model.hides.weight[0, 2].item() == 1  # a copy was pruned


def test_a_class_that_is_hidden_in_small_weights_comes_back_when_they_are_rounded() -> None:
    """One layer for each: of a step of 4 / 7 at 4 bits, what is below .28 is gone; 8 bits keep it."""
    asked = evidence()
    small = nn.Linear(3, 3, bias=False)
    with torch.no_grad():  # the logit of class 2 for itself is .2, and that of class 0 is .25
        small.weight.copy_(torch.tensor([[4.0, 0.0, 0.25], [0.0, 4.0, 0.0], [0.0, 0.0, 0.2]]))
    asked = replace(asked, model=small)
    found = Quantisation(bits=(8, 4), per="tensor")(asked)
    assert found["quantised/forget_acc_8bit"] == 0.0
    assert found["quantised/retain_acc_8bit"] == found["quantised/retain_acc_4bit"] == 1.0
    assert found["quantised/forget_acc_4bit"] == 0.0  # all its logits are 0, and the first class is predicted
    by_channel = Quantisation(bits=(4,), per="channel")(asked)
    assert by_channel["quantised/forget_acc_4bit"] == 1.0  # its own row keeps .2, that of class 0 loses .25


def test_a_limited_number_of_retain_samples_is_passed() -> None:
    passed: list[int] = []
    asked = evidence()
    model = nn.Sequential(nn.Linear(3, 3))
    model.register_forward_pre_hook(lambda _, inputs: passed.append(len(inputs[0])))
    values, failed = evaluate({"q": Quantisation(retained=3), "p": Pruning(retained=1)}, replace(asked, model=model))
    assert failed == {}
    assert passed == [2, 3, 2, 3, 2, 1, 2, 1]
    assert set(values) == {
        f"{kind}/{part}_acc_{how}"
        for kind, hows in {"quantised": ("8bit", "4bit"), "pruned": ("50pct", "90pct")}.items()
        for how in hows
        for part in ("forget", "retain")
    }
    assert ids(2, 5).tolist() == asked.split.forget.tolist()
