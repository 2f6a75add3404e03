"""Compose configurations as the command line does, from Python; Hydra's global state stays as it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf, open_dict

from .frames import FrameLoader
from .groups import GROUPS
from .messages import COMPOSITION_ERRORS, check_settings, explained
from .paths import CONF
from .schema import known_keys, plain, register

LOADERS: dict[str, FrameLoader] = {}  # of the process, whose configuration does not change


@contextmanager
def isolated() -> Iterator[None]:
    """Context manager in which ``hydra.compose`` reads this package's configuration; restores Hydra's global state."""
    instance = GlobalHydra.instance()
    before, instance.hydra = instance.hydra, None
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            hydra: Any = instance.hydra
            hydra.config_loader = LOADERS.setdefault(str(CONF), FrameLoader(hydra.config_loader))
            yield
    finally:
        instance.hydra = before


def composed(*overrides: str, root: Path | None = None) -> tuple[dict[str, Any], dict[str, str]]:
    """(configuration, choices) of a command line's overrides. Raises ``UserError`` for what does not compose.

    ``root`` is the folder that holds ``multirun/``, ``store/`` and ``data/``: the current one where it is None.
    """
    register(root)
    check_settings(overrides)
    with isolated():
        try:
            config = compose("config", list(overrides), return_hydra_config=True)
            return resolved(config, config.hydra.runtime.choices, overrides)
        except COMPOSITION_ERRORS as error:
            failure = error
    raise explained(failure, overrides, keys_near(overrides)) from None


def resolved(config: DictConfig, chosen: Any, overrides: Sequence[str] = ()) -> tuple[dict[str, Any], dict[str, str]]:
    """(configuration, choices) of what Hydra composed: plain, without Hydra's own node."""
    choices = {group: chosen.get(group) or "" for group in GROUPS}
    nodes = config.addon or {}
    choices["addon"] = ",".join(name for name in nodes if nodes[name] is not None)  # Hydra records no list of choices
    config = config.copy()
    with open_dict(config):
        config.pop("hydra", None)
    return plain(config, overrides), choices


def keys_near(overrides: Sequence[str]) -> list[str]:
    """The keys that exist under the groups that the overrides choose, for advice on a key that does not."""
    chosen = [override for override in overrides if override.partition("=")[0] in (*GROUPS, "hydra.searchpath")]
    with isolated():
        try:
            return known_keys(OmegaConf.to_container(compose("config", chosen)))
        except COMPOSITION_ERRORS:  # a sweep's lists of choices, or another mistake besides
            return list(GROUPS)
