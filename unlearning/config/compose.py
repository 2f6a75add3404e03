"""Compose configurations as the command line does, from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, open_dict

from .groups import GROUPS
from .messages import COMPOSITION_ERRORS, explained
from .paths import CONF
from .schema import known_keys, plain, register


def composed(*overrides: str, root: Path | None = None) -> tuple[dict[str, Any], dict[str, str]]:
    """(configuration, choices) of a command line's overrides. Raises ``UserError`` for what does not compose.

    ``root`` is the folder that holds ``multirun/``, ``store/`` and ``data/``: the current one where it is None.
    """
    register(root)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        try:
            config = compose("config", list(overrides), return_hydra_config=True)
        except COMPOSITION_ERRORS as error:
            raise explained(error, keys_near(overrides)) from None
    return resolved(config, config.hydra.runtime.choices)


def resolved(config: DictConfig, chosen: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """(configuration, choices) of what Hydra composed: plain, without Hydra's own node."""
    choices = {group: chosen.get(group) or "" for group in GROUPS}
    choices["addon"] = ",".join(config.addon or ())  # Hydra keeps no record of a list of choices
    config = config.copy()
    with open_dict(config):
        config.pop("hydra", None)
    return plain(config), choices


def keys_near(overrides: Sequence[str]) -> list[str]:
    """The keys that exist under the groups that the overrides choose, for advice on a key that does not."""
    chosen = [o for o in overrides if o.partition("=")[0] in GROUPS]
    try:
        return known_keys(compose("config", chosen))
    except COMPOSITION_ERRORS:  # a sweep's lists of choices, or another mistake besides
        return list(GROUPS)
