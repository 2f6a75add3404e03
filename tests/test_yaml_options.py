"""Every option of every choice is named in its YAML, so that nobody needs ``+key=value`` on the command line."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hydra import compose
from omegaconf import OmegaConf

from tests.conftest import names
from unlearning.config.compose import isolated
from unlearning.config.groups import NODES
from unlearning.config.schema import register
from unlearning.config.validation import parameters, target_of

SUPPLIED = {  # arguments that the program gives, by group
    "model": {"input_shape", "num_classes"},
    "method": {"model", "addons"},
    "pretrain": {"model", "addons", "make"},
}
CHOICES = [(group, name) for group in NODES for name in names(group)]


def own_targets(node: Any, where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Key and node of everything below that this package builds; other libraries document their own options."""
    if isinstance(node, Mapping):
        if str(node.get("_target_", "")).startswith("unlearning."):
            yield where, node
        for key, child in node.items():
            yield from own_targets(child, f"{where}.{key}")


def unnamed(node: Mapping[str, Any], where: str, supplied: set[str]) -> list[str]:
    """The options of a node's target, up to its bases, that the node does not name."""
    accepted, _ = parameters(target_of(node, where))
    partial = bool(node.get("_partial_"))  # then its caller gives the required arguments
    return [
        f"{where}.{name}"
        for name, parameter in accepted.items()
        if name not in node and name not in supplied and not (partial and parameter.required)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_every_option_is_named(group: str, name: str) -> None:
    register()
    with isolated():
        config = compose("config", [f"addon=[{name}]" if group == "addon" else f"{group}={name}"])
    node = OmegaConf.to_container(config, resolve=False)[group]
    targets = list(own_targets(node, group))
    assert targets or group in ("trainer", "tracking")
    assert not [key for where, inner in targets for key in unnamed(inner, where, SUPPLIED.get(group, set()))]


def test_an_option_that_is_not_named_is_found() -> None:
    node = {"_target_": "unlearning.metrics.noise_curve.EntropyAgainstNoise", "sigmas": [0.0], "seed": 0}
    assert unnamed(node, "evaluation.noise", set()) == ["evaluation.noise.noise"]
    heir = {"_target_": "unlearning.methods.ssd.SSD"}  # an option of a base, through **options
    assert "method.batch_size" in unnamed(heir, "method", {"model"})
