"""CF-k and EU-k: which tensors move and which are initialised again, for each kind of network."""

import copy
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from tests.by_hand import RETAIN, W, close, gradient
from tests.conftest import Tiny, composed, compute
from unlearning.engine.fitting import fit as fitted
from unlearning.engine.job import Job
from unlearning.errors import UserError
from unlearning.methods.cf_k import CFk
from unlearning.methods.eu_k import EUk
from unlearning.models.from_timm import TimmModel
from unlearning.models.resnet import ResNet
from unlearning.models.resnet9 import ResNet9
from unlearning.models.small_cnn import SmallCNN
from unlearning.models.wideresnet import WideResNet
from unlearning.types import Networks

SHAPE = (1, 8, 8)
NETWORKS = {  # with the number of blocks and the names of the tensors in the last two
    "plain": (partial(SmallCNN, SHAPE, 10), 4, ("block3.", "head.")),
    "resnet": (partial(ResNet, SHAPE, 10, depths=[1, 1], width=4), 4, ("stage2_1.", "head.")),
    "resnet9": (partial(ResNet9, SHAPE, 10), 7, ("conv4.", "head.")),
    # the normalisation before the head belongs to the last residual block
    "wideresnet": (partial(WideResNet, SHAPE, 10, depth=10, width=1), 5, ("stage3_1.", "norm.", "head.")),
    # ViT-Tiny is cut to three blocks to be quick; the last normalisation belongs to the last of them
    "vit": (
        lambda: TimmModel(SHAPE, 10, "test_vit", resize=32),
        None,
        ("network.blocks.", "network.norm.", "network.fc_norm.", "network.head."),
    ),
}


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def fit(method: CFk, fresh: nn.Module, steps: int) -> None:
    """Train on the digits for some steps; ``fresh`` is what a new network is a copy of."""
    problem = Job.of(composed("scenario=random")[0]).problem
    start = partial(copy.deepcopy, fresh)
    fitted(method, problem, compute(limit_train_batches=steps), 0, Networks(start, start))


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}


def made(kind: str) -> tuple[nn.Module, nn.Module]:
    """A network whose every tensor differs from those of the fresh one beside it."""
    torch.manual_seed(0)
    network, fresh = NETWORKS[kind][0](), NETWORKS[kind][0]()
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.add_(0.01 if tensor.is_floating_point() else 1)
    assert changed(network.state_dict(), fresh.state_dict()) == network.state_dict().keys()
    return network, fresh


def of_last_two(kind: str, network: nn.Module) -> set[str]:
    """The names of the tensors in the last two blocks, told by their names alone."""
    found = {name for name in network.state_dict() if name.startswith(NETWORKS[kind][2])}
    if kind == "vit":
        last = len(network.network.blocks) - 1
        others = tuple(f"network.blocks.{number}." for number in range(last))
        found = {name for name in found if not name.startswith(others)}
    return found


def options(lr: float = 0.01) -> dict:
    return {"optimizer": lambda parameters: torch.optim.SGD(parameters, lr), "batch_size": 16}


@pytest.mark.parametrize("kind", NETWORKS)
def test_eu_k_draws_exactly_the_last_blocks_anew(kind: str) -> None:
    network, fresh = made(kind)
    before = state(network)
    fit(EUk(network, k=2, **options()), fresh, steps=0)
    assert changed(before, network.state_dict()) == of_last_two(kind, network)
    assert not changed(fresh.state_dict(), network.state_dict()) & of_last_two(kind, network)


@pytest.mark.parametrize("initial", ["fresh", "original"])
def test_the_weights_of_eu_k_are_new_or_those_that_the_original_began_with(initial: str) -> None:
    """The original's training and this run have the same seed."""
    job = Job.of(composed("method=eu_k", "seed=0")[0])
    networks = job.lab.architecture.networks(job.problem.data)
    torch.manual_seed(0)
    beginning = job.lab.architecture.network(job.problem.data).state_dict()
    network, _ = made("plain")
    method = EUk(network, initial=initial, **options())
    fitted(method, job.problem, compute(limit_train_batches=0), 0, networks)
    drawn = {name for name in beginning if name.endswith("weight") and beginning[name].ndim > 1}  # four layers
    same = drawn - changed(beginning, network.state_dict())
    assert same == (drawn if initial == "original" else set())


def test_the_beginning_of_a_model_of_the_users_own_is_not_known() -> None:
    network, fresh = made("plain")
    with pytest.raises(UserError) as raised:
        fit(EUk(network, initial="original", **options()), fresh, steps=0)
    assert (raised.value.key, raised.value.kind) == ("method.initial", "conflict")


@pytest.mark.parametrize("kind", NETWORKS)
def test_cf_k_draws_none_anew_and_trains_the_last_blocks_alone(kind: str) -> None:
    network, fresh = made(kind)
    before = state(network)
    fit(CFk(network, k=2, **options()), fresh, steps=0)
    assert not changed(before, network.state_dict())
    method = CFk(network, k=2, **options())
    fit(method, fresh, steps=2)
    moved = changed(before, network.state_dict())
    assert moved  # and no running statistic of a frozen BatchNorm layer
    assert moved <= of_last_two(kind, network)
    assert {n for n in moved if n.endswith("running_mean")} == {
        n for n in of_last_two(kind, network) if n.endswith("running_mean")
    }
    assert all(p.requires_grad for p in network.parameters())
    assert not any(module.training for module in network.modules())


def test_minus_one_is_all_blocks() -> None:
    network, fresh = made("plain")
    before = state(network)
    fit(EUk(network, k=-1, **options()), fresh, steps=0)
    assert not changed(fresh.state_dict(), network.state_dict())
    network, fresh = made("plain")
    fit(CFk(network, k=-1, **options()), fresh, steps=2)
    assert changed(before, network.state_dict()) == before.keys()


@pytest.mark.parametrize("kind", ["plain", "resnet", "resnet9", "wideresnet"])
def test_as_many_blocks_as_there_are_is_all_and_more_is_refused(kind: str) -> None:
    make, count, _ = NETWORKS[kind]
    assert CFk(make(), k=count, **options()).frozen == []
    for wrong in (0, -2, count + 1):
        with pytest.raises(UserError) as raised:
            CFk(make(), k=wrong, **options())
        assert raised.value.key == "method.k"


BENCHMARK = {  # its k, a number of layers, and ours; a ViT's k is the same
    "resnet9": (partial(ResNet9, (3, 32, 32), 10, width=4), {1: 1, 2: 2, 4: 3, 5: 4, 7: 5, 8: 6}),
    "wrn28": (partial(WideResNet, (3, 32, 32), 10, width=1), {k: (k + 1) // 2 for k in range(1, 26, 2)}),
}


@pytest.mark.parametrize("kind", BENCHMARK)
def test_the_benchmarks_k_is_the_number_of_layers_in_our_last_blocks(kind: str) -> None:
    make, mapping = BENCHMARK[kind]
    for theirs, ours in mapping.items():
        method = CFk(make(), k=ours, **options())
        layers = [m for m in method.model.modules() if isinstance(m, nn.Conv2d | nn.Linear) and m.weight.requires_grad]
        projections = [m for m in layers if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)]  # beside a block
        assert len(layers) - len(projections) == theirs


def test_the_blocks_of_a_vit_are_counted_whole() -> None:
    network = TimmModel((3, 32, 32), 10, "vit_tiny_patch16_224")
    for k in range(1, 14):
        free = [p for name, p in CFk(network, k=k, **options()).model.named_parameters() if p.requires_grad]
        own = [p for block in network.network.blocks[13 - k :] for p in block.parameters()]
        assert len(free) == len(own) + 2 * (k > 1) + 2  # the last normalisation with the last block, and the head
        network.requires_grad_(True)


def test_a_step_of_cf_k_on_a_plain_module_by_hand(tiny: Tiny) -> None:
    """One block: all of softmax regression."""
    tiny.fit(CFk(tiny.model, k=1, optimizer=lambda p: torch.optim.SGD(p, 1.0), batch_size=2), steps=1)
    close(tiny, W - gradient(W, *RETAIN))
