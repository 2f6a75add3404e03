"""Settings of a method or recipe by its name, without a whole configuration: what the Python API starts from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from .messages import COMPOSITION_ERRORS, explained
from .paths import CONF
from .tables import Row, rows_for


@contextmanager
def isolated() -> Iterator[None]:
    """Compose inside without changing what a program around this one has set up with Hydra."""
    instance = GlobalHydra.instance()
    before, instance.hydra = instance.hydra, None
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            yield
    finally:
        instance.hydra = before


def choice(group: str, name: str, **others: str) -> dict[str, Any]:
    """The node of a choice, such as ``choice("method", "ssd")``, resolved next to other groups' choices.

    Raises ``UserError`` for a name that does not exist.
    """
    with isolated():
        try:
            config = compose(None, [f"+{key}={value}" for key, value in {**others, group: name}.items()])
        except COMPOSITION_ERRORS as error:
            raise explained(error) from None
    found: dict[str, Any] = OmegaConf.to_container(config[group], resolve=True)  # type: ignore[assignment]
    return found


def method_settings(
    name: str, options: Mapping[str, Any], recipe: str, dataset: str = "", model: str = "", scenario: str = ""
) -> tuple[dict[str, Any], list[Row]]:
    """A method's node: its defaults, then the rows of its table that apply, then ``options``; and these rows.

    Args:
        options: by name; a mapping, such as ``{"lr": 0.1}`` for ``optimizer``, changes a part of an option.
        recipe: the choice of ``pretrain`` that methods which train from scratch take their settings from.
        dataset, model, scenario: what the rows' conditions are compared with; none applies to an empty name.
    """
    rows = rows_for(name, dataset, model, scenario)
    layers = [choice("method", name, pretrain=recipe), *(row.set for row in rows), dict(options)]
    node: dict[str, Any] = OmegaConf.to_container(OmegaConf.merge(*layers), resolve=True)  # type: ignore[assignment]
    return node, rows
