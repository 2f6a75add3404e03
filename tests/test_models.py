"""Every backbone of conf/model: shapes, blocks, initialisation, gradients; parameter counts against published ones."""

from pathlib import Path

import pytest
import timm
import torch
import torchvision
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from unlearning.config.validation import check
from unlearning.errors import UserError
from unlearning.models.allcnn import AllCNN
from unlearning.models.base import GlobalPool
from unlearning.models.from_timm import TimmModel
from unlearning.models.mlp import MLP
from unlearning.models.resnet import PadShortcut, ResNet
from unlearning.models.resnet9 import ResNet9
from unlearning.models.small_cnn import SmallCNN
from unlearning.models.vgg import VGG
from unlearning.models.wideresnet import PreActivation, WideResNet

CONF = Path(__file__).parents[1] / "conf" / "model"
NAMES = sorted({file.stem for file in CONF.glob("*.yaml")} - {"huggingface"})  # which is in test_huggingface
BY_OTHERS = ("resnet9", "resnet50_imagenet")
SMALLER = {  # options that make the large ones small enough for a test, without another architecture
    **{name: {"width": 4} for name in NAMES if name.startswith("resnet") and name not in BY_OTHERS},
    "wrn28_10": {"width": 1},
    "wrn28_10_corrective": {"width": 1},
    "vgg11": {"depths": [1, 2, 1, 1, 1]},
    "vgg16": {"depths": [1, 2, 1, 1, 1]},
    "vgg16_bn": {"depths": [1, 2, 1, 1, 1]},
    "vgg16_bn_mlp": {"depths": [1, 2, 1, 1, 1]},
    "resnet50_imagenet": {"name": "test_convnext", "resize": 64},  # timm starts residual branches of ResNets at zero
    "timm": {"name": "test_vit", "resize": 32},
    "vit_b16": {"name": "test_vit", "resize": 32},
    "swin_t": {"name": "test_convnext", "resize": 64},
    "torchvision": {"name": "shufflenet_v2_x0_5"},
}
CIFAR = (3, 32, 32)


def make(name, input_shape=CIFAR, seed=0):
    torch.manual_seed(seed)
    config = OmegaConf.merge(OmegaConf.load(CONF / f"{name}.yaml"), SMALLER.get(name, {}))
    return instantiate(config, input_shape=input_shape, num_classes=7, _convert_="all")


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.fixture(scope="module", params=NAMES)
def model(request):
    return make(request.param)


@pytest.mark.parametrize("shape", [CIFAR, (1, 8, 8), (3, 9, 14)])
@pytest.mark.parametrize("name", NAMES)
def test_logits_for_every_image_size(name, shape):
    model = make(name, shape)
    logits = model.train()(torch.randn(3, *shape))
    assert logits.shape == (3, 7)
    assert logits.isfinite().all()
    assert logits.std(0).min() > 0, "the logits must depend on the image"


def test_blocks_hold_every_parameter_once(model):
    in_blocks = [id(parameter) for block in model.blocks for parameter in block.parameters()]
    assert sorted(in_blocks) == sorted(id(parameter) for parameter in model.parameters())
    assert all(any(p.ndim > 1 for p in block.parameters()) for block in model.blocks), "a norm is not a separate block"
    assert [p.shape[0] for p in model.blocks[-1].parameters()][-1] == 7, "the head is the last block"


def test_blocks_are_in_the_order_of_the_forward_pass(model):
    block_of = {id(p): number for number, block in enumerate(model.blocks) for p in block.parameters()}
    visited = []

    def visit(module, _):
        visited.extend(block_of[id(parameter)] for parameter in module.parameters(recurse=False))

    leaves = [module for module in model.modules() if not list(module.children())]
    hooks = [module.register_forward_pre_hook(visit) for module in leaves]
    model.eval()(torch.randn(1, *CIFAR))
    for hook in hooks:
        hook.remove()
    assert visited == sorted(visited)
    assert set(visited) == set(range(len(model.blocks)))


def test_gradient_reaches_every_parameter(model):
    model.train().zero_grad()
    nn.functional.cross_entropy(model(torch.randn(8, *CIFAR)), torch.arange(8) % 7).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("name", NAMES)
def test_initialisation_follows_the_global_seed_alone(name):
    first, other, again = make(name, seed=0), make(name, seed=1), make(name, seed=0)
    for (key, value), same in zip(first.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(value, same), key
    for (key, value), different in zip(first.named_parameters(), other.parameters(), strict=True):
        if value.ndim > 1:
            assert (value != different).float().mean() > 0.99, key
    for key, value in first.named_buffers():
        if key.endswith(("running_mean", "num_batches_tracked")):
            assert not value.any(), f"{key} has seen data"
        elif key.endswith("running_var"):
            assert (value == 1).all(), f"{key} has seen data"


def test_parameter_counts_by_hand():
    # SmallCNN: three convolutions without bias, two vectors for each of 160 normalised channels, the head
    assert count(SmallCNN((1, 8, 8), 10)) == 9 * (1 * 32 + 32 * 64 + 64 * 64) + 2 * 160 + 650
    # All-CNN: 3 -> 96 -> 96 -> 192, four of 192 -> 192, one 1x1; 2 x 96 + 6 x 192 normalised channels; head
    convolutions = 9 * (3 * 96 + 96 * 96 + 96 * 192 + 4 * 192 * 192) + 192 * 192
    assert count(AllCNN(CIFAR, 10)) == convolutions + 2 * (2 * 96 + 6 * 192) + 1930 == 1_620_010
    # ResNet-9: convolutions with bias and BatchNorm, so three vectors a channel; head without bias
    convolutions = 3 * 64 * 9 + 64 * 128 * 25 + 9 * (2 * 128 * 128 + 128 * 256 + 2 * 256 * 256 + 256 * 128)
    assert count(ResNet9(CIFAR, 10)) == convolutions + 3 * (64 + 3 * 128 + 3 * 256 + 128) + 1280
    # 432 + 12,800 + 2 x 9,216 + 18,432 + 2 x 36,864 + 18,432 weights, biases and norms of 336 channels, the head
    assert count(ResNet9(CIFAR, 10, width=16)) == 142_256 + 3 * 336 + 320
    assert count(MLP((30,), 2, hidden=[16])) == 30 * 16 + 16 + 16 * 2 + 2


@pytest.mark.parametrize(
    ("name", "millions", "blocks"),
    [
        ("resnet18", 11.17, 1 + 8 + 1),
        ("resnet34", 21.28, 1 + 16 + 1),
        ("resnet50", 23.52, 1 + 16 + 1),
        ("resnet20", 0.27, 1 + 9 + 1),  # He et al. 2016, table 6, this and the next four
        ("resnet32", 0.46, 1 + 15 + 1),
        ("resnet44", 0.66, 1 + 21 + 1),
        ("resnet56", 0.85, 1 + 27 + 1),
        ("resnet110", 1.73, 1 + 54 + 1),
        ("wrn28_10", 36.48, 1 + 12 + 1),  # Zagoruyko and Komodakis 2016, table 4: 36.5 M
        ("wrn28_10_corrective", 36.49, 1 + 12 + 1),
        ("vgg16", 14.72, 13 + 1),
        ("vgg11", 9.23, 8 + 1),
        ("vgg16_bn", 14.72, 13 + 1),
        ("vgg16_bn_mlp", 14.72 + 0.59, 13 + 3),  # a head of 2048 x 256 + 256 x 256 + ... weights
        ("vit_b16", 85.81, 1 + 12 + 1),  # Dosovitskiy et al. 2021, table 1: 86 M
        ("resnet50_imagenet", 23.53, 1 + 16 + 1),  # 25.56 M with 1000 classes
        ("swin_t", 27.53, 1 + 4 + 1),  # Liu et al. 2021: 28.3 M with 1000 classes
    ],
)
def test_published_size_and_number_of_blocks(name, millions, blocks):
    with torch.device("meta"):
        model = instantiate(OmegaConf.load(CONF / f"{name}.yaml"), input_shape=CIFAR, num_classes=10, _convert_="all")
    assert count(model) / 1e6 == pytest.approx(millions, abs=0.006)
    assert len(model.blocks) == blocks


@pytest.mark.parametrize(
    ("name", "n", "parameters"), [("resnet20", 3, 269_722), ("resnet44", 7, 658_586), ("resnet56", 9, 853_018)]
)
def test_resnets_of_cifar_are_counted_by_hand(name, n, parameters):
    # He et al. 2016, section 4.2, without parameters in the shortcuts: 3 -> 16, then 2 n layers each of 16, 32 and 64
    convolutions = 9 * (3 * 16 + 2 * n * 16**2 + 16 * 32 + (2 * n - 1) * 32**2 + 32 * 64 + (2 * n - 1) * 64**2)
    norms = 2 * ((2 * n + 1) * 16 + 2 * n * 32 + 2 * n * 64)
    model = instantiate(OmegaConf.load(CONF / f"{name}.yaml"), input_shape=CIFAR, num_classes=10, _convert_="all")
    assert count(model) == convolutions + norms + 650 == parameters


def test_swin_t_has_the_documented_size():
    with torch.device("meta"):
        model = TimmModel((3, 224, 224), 1000, OmegaConf.load(CONF / "swin_t.yaml").name)
    assert count(model) == 28_288_354  # torchvision's documented number


def test_vgg_for_large_images_has_the_papers_size():
    with torch.device("meta"):
        model = VGG((3, 224, 224), 1000, side=7, hidden=[4096, 4096], dropout=0.5)
    assert count(model) == 138_357_544  # torchvision's documented number for VGG16
    with torch.device("meta"):
        model = VGG((3, 224, 224), 1000, side=7, hidden=[4096, 4096], dropout=0.5, norm=True)
    assert (
        count(model) == 138_365_992 - 4224
    )  # theirs for VGG16-BN, where convolutions keep their biases, of 4224 channels


def test_vgg_head_of_the_sparse_unlearning_papers():
    with torch.device("meta"):
        model = VGG(CIFAR, 10, side=2, hidden=[256, 256])
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(2048, 256), (256, 256), (256, 10)]
    assert sum(isinstance(module, nn.MaxPool2d) for module in model.modules()) == 4


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_resnet_computes_what_torchvision_does(name):
    theirs = getattr(torchvision.models, name)(num_classes=10)
    theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    config = OmegaConf.load(CONF / f"{name}.yaml")
    ours = instantiate(config, input_shape=CIFAR, num_classes=10, _convert_="all")
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        if other.ndim == 1:  # BatchNorm begins with constants, which would not show an exchange
            other.data.add_(0.2 * torch.rand_like(other))
        mine.data.copy_(other.data)
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(ours.eval()(images), theirs.eval()(images), rtol=1e-3, atol=1e-3)


def test_pad_shortcut_takes_every_second_pixel_and_adds_zero_channels():
    maps = torch.arange(9.0).reshape(1, 1, 3, 3)
    expected = torch.tensor([[[[0.0, 2.0], [6.0, 8.0]], [[0.0, 0.0], [0.0, 0.0]]]])
    assert torch.equal(PadShortcut(extra=1, stride=2)(maps), expected)


def test_pre_activation_block_leaves_its_shortcut_untouched():
    block = PreActivation(4, 4, stride=1)
    nn.init.zeros_(block.branch[-1].weight)
    maps = torch.randn(2, 4, 5, 5)
    assert torch.equal(block(maps), maps)  # no ReLU after the sum: negative values pass


def test_pre_activation_block_projects_the_activated_maps():
    block = PreActivation(1, 2, stride=2).eval()  # BatchNorm of fresh statistics changes a value by 5e-6 of it
    nn.init.zeros_(block.branch[-1].weight)
    nn.init.ones_(block.projection.weight)
    expected = torch.tensor([[[[0.0]], [[0.0]]], [[[3.0]], [[3.0]]]])
    maps = torch.tensor([[[[-3.0, 1.0], [1.0, 1.0]]], [[[3.0, 1.0], [1.0, 1.0]]]])
    torch.testing.assert_close(block(maps), expected, rtol=1e-4, atol=0)


def test_the_wide_resnet_of_the_corrective_benchmark_is_counted_by_hand():
    model = make("wrn28_10_corrective")  # of width 1, so 16, 32 and 64 channels
    convolutions = 9 * (3 * 16 + 8 * 16**2 + 16 * 32 + 7 * 32**2 + 32 * 64 + 7 * 64**2)
    shortcuts = 16 * 32 + 32 * 64  # and none from 16 to 16
    biases = 16 + 8 * 16 + 9 * 32 + 9 * 64
    norms = 2 * ((8 + 1) * 16 + (7 + 1) * 32 + 7 * 64) + 2 * (32 + 64)  # two a block, and one a shortcut
    assert count(model) == convolutions + shortcuts + biases + norms + 64 * 7 + 7
    assert all(layer.bias is not None for layer in model.modules() if isinstance(layer, nn.Conv2d))
    assert [len(model(torch.randn(2, *CIFAR))), type(list(model.children())[-4])] == [2, PreActivation]
    nn.init.zeros_(model.stage2_1.branch[-1].weight)
    maps = model.train().stage2_1(torch.randn(64, 16, 8, 8))
    assert maps.mean((0, 2, 3)).abs().max() < 1e-5  # the shortcut alone, normalised over the batch
    assert maps.var((0, 2, 3)).sub(1).abs().max() < 1e-2


def test_he_initialisation_has_variance_two_over_fan_out():
    convolution = ResNet(CIFAR, 10, depths=[1, 1], width=64).stage2_1.branch[0]  # 64 -> 128, fan-out 9 x 128
    assert convolution.weight.var().item() == pytest.approx(2 / (9 * 128), rel=0.02)


def test_global_pool_is_the_mean_or_the_maximum_of_a_map():
    maps = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[-1.0, -1.0], [-1.0, -5.0]]]])
    assert GlobalPool()(maps).tolist() == [[3.0, -2.0]]
    assert GlobalPool("max")(maps).tolist() == [[6.0, -1.0]]
    assert next(layer.kind for layer in ResNet9(CIFAR, 10) if isinstance(layer, GlobalPool)) == "max"


def test_mlp_takes_features_and_no_hidden_layer_is_logistic_regression():
    assert MLP((30,), 2)(torch.randn(5, 30)).shape == (5, 2)
    assert [tuple(p.shape) for p in MLP((1, 8, 8), 10, hidden=[]).parameters()] == [(10, 64), (10,)]


def test_timm_resizes_inside_the_network():
    model = TimmModel((1, 8, 8), 5, "test_vit", resize=32)
    sizes = []
    model.network.register_forward_pre_hook(lambda _, inputs: sizes.append(tuple(inputs[0].shape)))
    model(torch.randn(2, 1, 8, 8))
    assert sizes == [(2, 1, 32, 32)]
    assert model.training


def test_timm_starts_with_fresh_statistics():
    statistics = [value for key, value in TimmModel(CIFAR, 5, "test_resnet").named_buffers() if "running_mean" in key]
    assert statistics
    assert not any(value.any() for value in statistics)


def test_timm_blocks_of_other_families():
    for name in ("test_efficientnet", "test_resnet", "test_vit_relpos", "test_nfnet"):
        test_blocks_hold_every_parameter_once(TimmModel((3, 64, 64), 7, name))


@pytest.mark.parametrize(
    ("make_bad", "key", "kind"),
    [
        (lambda: SmallCNN((1, 3, 5), 10), "model", "conflict"),  # images of at least 4 x 4
        (lambda: ResNet9((3, 7, 9), 10), "model", "conflict"),  # 8 x 8
        (lambda: VGG((3, 6, 6), 10, side=7), "model", "conflict"),  # 7 x 7
        (lambda: ResNet((30,), 10, depths=[1]), "model", "conflict"),  # not images
        (lambda: TimmModel((30,), 10, "test_vit"), "model", "conflict"),
        (lambda: WideResNet(CIFAR, 10, depth=27), "model.depth", "value"),
        (lambda: TimmModel(CIFAR, 10, "vit_tny_patch16_224"), "model.name", "choice"),
        (lambda: TimmModel(CIFAR, 10, "resnet18.nothing"), "model.name", "choice"),
        (lambda: TimmModel(CIFAR, 10, "test_vit4.nothing"), "model.name", "choice"),
        (lambda: TimmModel((3, 8, 8), 10, "test_vit"), "model.resize", "value"),
    ],
)
def test_an_architecture_that_does_not_fit_is_one_line(make_bad, key, kind):
    with pytest.raises(UserError) as caught:
        make_bad()
    assert (caught.value.key, caught.value.kind) == (key, kind)
    assert "\n" not in str(caught.value)


def test_a_misspelt_name_of_timm_is_answered_with_the_nearest():
    with pytest.raises(UserError, match=r"did you mean .*vit_tiny_patch16_224"):
        TimmModel(CIFAR, 10, "vit_tny_patch16_224")


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("resnet18", "block", "wide"),
        ("resnet18", "shortcut", "b"),
        ("resnet18", "depths", [2, 0]),
        ("resnet18", "depths", []),
        ("resnet18", "width", 0),
        ("resnet9", "width", 0),
        ("wrn28_10", "width", 0),
        ("wrn28_10", "depth", 4),  # no block
        ("vgg16", "depths", [1] * 6),
        ("vgg16", "depths", [1, 0]),
        ("vgg16", "side", 0),
        ("vgg16", "hidden", [0]),
        ("vgg16", "dropout", 1.5),
        ("mlp", "hidden", [16, 0]),
        ("timm", "resize", 0),
        ("timm", "dropout", 1.0),
        ("resnet50", "dropout", -0.1),
    ],
)
def test_options_have_bounds(name, option, value):
    node, given = (
        OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml")),
        {"input_shape": CIFAR, "num_classes": 2},
    )
    check(node, "model", given)
    with pytest.raises(UserError) as caught:
        check(node | {option: value}, "model", given)
    assert caught.value.key == f"model.{option}"


@pytest.mark.parametrize(
    "network",
    [
        lambda dropout: ResNet(CIFAR, 7, [1], 4, dropout=dropout),
        lambda dropout: TimmModel(CIFAR, 7, "test_resnet", dropout=dropout),
        lambda dropout: TimmModel(CIFAR, 7, "test_vit", dropout=dropout, resize=32),
    ],
)
def test_dropout_comes_before_the_head_and_in_training_alone(network):
    with torch.random.fork_rng():
        plain, dropped = (torch.manual_seed(0) and network(dropout) for dropout in (0.0, 0.999))
    assert plain.state_dict().keys() == dropped.state_dict().keys()
    images = torch.rand(4, *CIFAR)
    assert torch.equal(plain.eval()(images), dropped.eval()(images))
    bias = list(dropped.parameters())[-1]
    logits = dropped.train()(images)
    assert logits.shape == (4, 7)
    assert (logits == bias).all(-1).any()  # of most samples no feature is left
    assert not (plain.train()(images) == bias).all(-1).any()


def test_weights_that_cannot_be_fetched(monkeypatch, tmp_path):
    import huggingface_hub.constants as hub

    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError) as caught:
        TimmModel(CIFAR, 10, "test_vit", pretrained=True)
    assert (caught.value.key, caught.value.kind) == ("model.pretrained", "file")


def test_timm_without_weights():
    name = next(n for n in timm.list_models("vit*") if not timm.get_pretrained_cfg(n).has_weights)
    with pytest.raises(UserError) as caught:
        TimmModel(CIFAR, 10, name, pretrained=True)
    assert (caught.value.key, caught.value.kind) == ("model.pretrained", "value")
