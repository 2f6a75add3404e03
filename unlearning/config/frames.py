"""Composition for many jobs: what their choices alone decide is composed once, and their values are put into copies."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigSource
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

SEARCH_PATH = "hydra.searchpath"  # what lies there may change between two compositions


def itself(own: Any) -> Any:
    """Its argument."""
    return own


class FrameLoader(ConfigLoader):
    """A loader that keeps what Hydra's own composed of the choices of groups and of Hydra's own settings.

    Hydra applies all other settings of a command line in order, after it has merged what the choices name. So these are
    applied to a copy of that frame, which takes a tenth of the time of composing it. What is composed is what Hydra's
    own loader gives, its own node included.
    """

    def __init__(self, own: Any) -> None:
        self.own = own
        self.frames: dict[tuple[object, ...], bytes] = {}
        self.groups: dict[str, bool] = {}

    def __reduce__(self) -> tuple[Callable[[Any], Any], tuple[Any]]:
        """To the processes of a launcher, each of which composes its jobs anew, goes Hydra's own loader.

        They could keep no frames: Hydra imports the modules of its plugins twice there, so that the class of a
        launcher's settings is not that of its module, which ``pickle`` refuses.
        """
        return itself, (self.own,)

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """The composed configuration. Raises as Hydra's own loader does."""

        def compose(words: list[str]) -> DictConfig:
            found: DictConfig = self.own.load_configuration(
                config_name, words, run_mode, from_shell, validate_sweep_overrides
            )
            return found

        parsed = OverridesParser.create().parse_overrides(overrides)
        if any(override.is_sweep_override() or override.key_or_group == SEARCH_PATH for override in parsed):
            return compose(overrides)
        frame = [str(override.input_line) for override in parsed if self.decides_frame(override)]
        key = (config_name, run_mode, os.getcwd(), *frame)
        if key not in self.frames:
            self.frames[key] = pickle.dumps(compose(frame))
        found: DictConfig = pickle.loads(self.frames[key])  # sooner than a deep copy
        self.own._apply_overrides_to_config([one for one in parsed if not self.decides_frame(one)], found)
        task = [str(override.input_line) for override in parsed if not override.is_hydra_override()]
        found.hydra.overrides.task = task
        about = found.hydra.job.config.override_dirname
        named = sorted(line for line in task if line.partition("=")[0] not in about.exclude_keys)
        found.hydra.job.override_dirname = re.sub("=", about.kv_sep, about.item_sep.join(named))
        return found

    def decides_frame(self, override: Override) -> bool:
        """Whether a setting is a choice of a group or one of Hydra's own, rather than a value of the configuration."""
        name = override.key_or_group
        if name not in self.groups:
            self.groups[name] = any(source.is_group(name) for source in self.get_sources())
        chosen = self.groups[name] and not isinstance(override.value(), dict)
        return chosen or override.is_hydra_override()

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """The configuration of a job of a sweep."""
        shared: Any = OmegaConf.to_container(master_config.hydra.overrides.hydra)
        found = self.load_configuration(master_config.hydra.job.config_name, [*shared, *sweep_overrides], RunMode.RUN)
        OmegaConf.copy_cache(from_config=master_config, to_config=found)
        return found

    # The rest is Hydra's

    def get_search_path(self) -> ConfigSearchPath:
        return self.own.get_search_path()

    def get_sources(self) -> list[ConfigSource]:
        return self.own.get_sources()

    def list_groups(self, parent_name: str) -> list[str]:
        return self.own.list_groups(parent_name)

    def get_group_options(
        self,
        group_name: str,
        results_filter: ObjectType | None = ObjectType.CONFIG,
        config_name: str | None = None,
        overrides: list[str] | None = None,
    ) -> list[str]:
        return self.own.get_group_options(group_name, results_filter, config_name, overrides)

    def compute_defaults_list(self, config_name: str | None, overrides: list[str], run_mode: RunMode) -> Any:
        return self.own.compute_defaults_list(config_name, overrides, run_mode)
