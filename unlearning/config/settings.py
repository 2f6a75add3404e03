"""Settings of a method or recipe by its name, without a whole configuration: what the Python API starts from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra import compose
from omegaconf import OmegaConf

from ..errors import UserError, nearest
from .compose import isolated
from .guide import choices
from .messages import COMPOSITION_ERRORS, explained
from .tables import Row, merged, rows_for


def choice(group: str, name: str) -> dict[str, Any]:
    """The node of a choice, such as ``choice("evaluation", "full")``.

    Raises ``UserError`` for a name that does not exist.
    """
    found: Any = OmegaConf.to_container(composed_groups({group: name})[group], resolve=True)
    return found


def recipe_of(recipe: str | None, dataset: str = "") -> str:
    """The choice of ``pretrain``: the one named, else that of the data set, else that of the digits."""
    if recipe is not None:
        return recipe
    return dataset if dataset in choices("pretrain") else "digits"


def method_settings(
    name: str, options: Mapping[str, Any], recipe: str, dataset: str = "", model: str = "", scenario: str = ""
) -> tuple[dict[str, Any], list[Row]]:
    """A method's node: its defaults, then the rows of its table that apply, then ``options``; and these rows.

    Args:
        options: by name; a mapping, such as ``{"lr": 0.1}`` for ``optimizer``, changes a part of an option.
        recipe: the choice of ``pretrain`` that methods which train from scratch take their settings from.
        dataset, model, scenario: what the rows' conditions are compared with; none applies to an empty name.

    Raises ``UserError`` for a name that does not exist.
    """
    for group, chosen in {"dataset": dataset, "model": model, "scenario": scenario}.items():
        if chosen and chosen not in (known := choices(group)):
            raise UserError(f"there is no {group} named {chosen!r}: {nearest(chosen, known)}", key=group, kind="choice")
    rows = rows_for(name, dataset, model, scenario)
    config = composed_groups({"pretrain": recipe, "method": name})
    node: Any = OmegaConf.to_container(config["method"], resolve=False)
    for changes in (*(row.set for row in rows), options):
        node = merged(node, changes)
    config["method"] = node
    found: Any = OmegaConf.to_container(config["method"], resolve=True)
    return found, rows


def composed_groups(choices: Mapping[str, str]) -> Any:
    """The nodes of some groups' choices, composed without the rest of the configuration."""
    with isolated():
        try:
            return OmegaConf.create(OmegaConf.to_container(compose(None, [f"+{k}={v}" for k, v in choices.items()])))
        except COMPOSITION_ERRORS as error:
            raise explained(error) from None
