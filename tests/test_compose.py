"""The composition of two models: the head of one on the other, how its parts are made, kept and named."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.by_hand import LR, SGD, STILL
from tests.conftest import Tiny
from tests.digits import results
from unlearning.errors import UserError
from unlearning.methods.compose import Compose
from unlearning.methods.finetune import FineTune
from unlearning.methods.gradient_ascent import GradientAscent


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(1, 3), nn.Linear(3, 2))


def saved(path: Path, seed: int) -> dict[str, torch.Tensor]:
    """Other weights of the network, in a file."""
    torch.manual_seed(seed)
    state = {name: torch.randn(tensor.shape) for name, tensor in network().state_dict().items()}
    save_file(state, path)
    return state


def test_the_head_of_one_model_is_put_on_the_other(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    forgetting = saved(tmp_path / "run" / "unlearned.safetensors", 1)
    remaining = saved(tmp_path / "own.safetensors", 2)
    tiny.model = network()
    method = Compose(tiny.model, str(tmp_path / "run"), str(tmp_path / "own.safetensors"), optimizer=STILL, epochs=2)
    tiny.fit(method)
    state = tiny.model.state_dict()
    assert all(torch.equal(state[name], remaining[name]) for name in ("1.weight", "1.bias"))
    assert all(torch.equal(state[name], forgetting[name]) for name in ("2.weight", "2.bias"))
    assert method.meter.forward == 2 * 2  # two retain samples in two epochs
    assert method.access == {"retain": "inputs and labels"}


def test_a_model_composed_with_itself_is_the_model(tiny: Tiny, tmp_path: Path) -> None:
    state = saved(tmp_path / "own.safetensors", 1)
    tiny.model = network()
    tiny.fit(Compose(tiny.model, *[str(tmp_path / "own.safetensors")] * 2, optimizer=STILL))
    assert all(torch.equal(tensor, state[name]) for name, tensor in tiny.model.state_dict().items())


def ascend(model: nn.Module) -> GradientAscent:
    return GradientAscent(model, optimizer=SGD)


def descend(model: nn.Module) -> FineTune:
    return FineTune(model, optimizer=SGD, epochs=2)


@pytest.mark.parametrize("k", [-1, 1])
def test_both_models_are_made_from_the_original_and_then_tuned(k: int) -> None:
    def fitted(make: object) -> Tiny:
        tiny = Tiny()
        tiny.model = network()
        method = make(tiny.model)
        tiny.fit(method)
        tiny.method = method
        return tiny

    ascended, descended = fitted(ascend), fitted(descend)
    expected = network()
    expected.load_state_dict(descended.model.state_dict())
    expected[2].load_state_dict(ascended.model[2].state_dict())
    x, y = torch.tensor([[0.4], [0.8]]), torch.tensor([0, 1])
    nn.functional.cross_entropy(expected(x), y).backward()
    with torch.no_grad():
        for parameter in expected.parameters() if k == -1 else expected[2].parameters():
            parameter -= LR * parameter.grad
    composed = fitted(lambda model: Compose(model, ascend, descend, optimizer=SGD, k=k))
    for name, tensor in composed.model.state_dict().items():
        torch.testing.assert_close(tensor, expected.state_dict()[name])
    passes = [tiny.method.meter.forward for tiny in (ascended, descended)]
    assert passes == [2, 4]
    assert composed.method.meter.forward == sum(passes) + 2
    assert composed.method.access == {"forget": "inputs and labels", "retain": "inputs and labels"}


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2, 1)}, tmp_path / "other.safetensors")
    for name in ("other.safetensors", "missing.safetensors"):
        with pytest.raises(UserError) as raised:
            Compose(network(), ascend, str(tmp_path / name))
        assert raised.value.key == "method.remain"


@pytest.mark.slow
def test_parts_are_made_once_and_are_those_of_their_methods(places: list[str]) -> None:
    """The part that forgets is found in the store under the key of the same method alone, and costs what it did."""
    options = ["keep=null", "attack.radius=0.3", "optimizer.lr=1e-3", "epochs=2"]
    alone = results(places, "method=boundary_shrink", "table@method=none", *(f"method.{option}" for option in options))
    words = ["method=compose", "table@method=none", *(f"method.forget.{option}" for option in options)]
    composed = results(places, *words, "method.remain.epochs=1")
    assert composed["cost"]["cost/seconds_forget"] == alone["cost"]["cost/seconds"]
    assert composed["cost"]["cost/forward"] > alone["cost"]["cost/forward"]


@pytest.mark.slow
def test_forgets_a_class_of_the_digits(places: list[str]) -> None:
    rows = results(places, "method=compose")["rows"]
    assert rows["original"]["forget/acc"] == 1
    assert rows["unlearned"]["forget/acc"] <= 0.1
    assert rows["unlearned"]["retain/acc"] >= 0.95
