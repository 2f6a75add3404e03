"""Which network of torchvision or timm a user's weights are of: the best guess, for a message."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress

import torch
from torch import Tensor, nn

IMAGENET = 1000  # classes of the networks as the libraries make them
# A name that all networks of a family have, and the members that are most used
RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "wide_resnet50_2")
DENSENETS = ("densenet121", "densenet169", "densenet201", "densenet161")
MOBILENETS = ("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", *(f"efficientnet_b{n}" for n in range(5)))
FAMILIES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    r"layer1\.0\.conv1\.weight": ("torchvision", RESNETS),
    r"encoder\.layers\.encoder_layer_0\..*": ("torchvision", ("vit_b_16", "vit_b_32", "vit_l_16")),
    r"features\.denseblock1\..*": ("torchvision", DENSENETS),
    r"features\.0\.0\.weight": ("torchvision", (*MOBILENETS, "convnext_tiny", "convnext_small", "swin_t", "swin_s")),
    r"features\.0\.weight": ("torchvision", ("alexnet", "vgg11", "vgg16", "vgg11_bn", "vgg16_bn", "vgg19", "vgg19_bn")),
    r"blocks\.0\.attn\.qkv\.weight": ("timm", tuple(f"vit_{size}_patch16_224" for size in ("tiny", "small", "base"))),
    r"stem\.0\.weight": ("timm", ("convnext_atto", "convnext_tiny", "convnext_small", "convnext_base")),
    r"layers\.0\.blocks\.0\..*": ("timm", ("swin_tiny_patch4_window7_224", "swin_small_patch4_window7_224")),
    r"conv_stem\.weight": ("timm", ("efficientnet_b0", "efficientnet_b1", "mobilenetv3_small_100", "mobilenetv2_100")),
}


def guessed(state: Mapping[str, Tensor]) -> tuple[str, str]:
    """The library and the name of the network that has such tensors, but for its head; two empty words for none."""
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    for family, (library, names) in FAMILIES.items():
        found = re.compile(rf"(?P<prefix>|.*\.){family}")
        prefixes = {match["prefix"] for name in shapes if (match := found.fullmatch(name))}
        for prefix in prefixes:
            inside = {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
            for name in names:
                for network in built(library, name):
                    if alike(inside, {key: tuple(t.shape) for key, t in network.state_dict().items()}):
                        return library, name
    return "", ""


def built(library: str, name: str) -> Iterator[nn.Module]:
    """The network of that name without memory for its weights, if the library can make it so."""
    import timm
    import torchvision

    make = timm.create_model if library == "timm" else torchvision.models.get_model
    with warnings.catch_warnings(), suppress(Exception), torch.device("meta"):
        warnings.simplefilter("ignore")
        yield make(name)


def alike(ours: Mapping[str, tuple[int, ...]], theirs: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether the names are the same, and the shapes of all but the last layer, whose outputs are classes."""
    if ours.keys() != theirs.keys():
        return False
    other = [(shape, theirs[name]) for name, shape in ours.items() if shape != theirs[name]]
    return all(found[1:] == known[1:] and known[0] == IMAGENET for found, known in other)
