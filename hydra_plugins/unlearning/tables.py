"""Hands the tables of settings to Hydra, as configs called ``table/<name>:<dataset>:<model>:<scenario>``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from unlearning.config.paths import CONF
from unlearning.config.tables import CONDITIONS, folders_of, replaced, rows_for, settings

SCHEME = "tables"
OFF = "table/none"  # the choice of no table at all
NULL = "table/null:"  # and a dotted key: sets that key to null


class TablesPath(SearchPathPlugin):
    """Adds the tables to Hydra's search path wherever this project's configuration is the primary one."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        main = [element for element in search_path.get_path() if element.provider == "main"]
        if main and Path(main[0].path.removeprefix("file://")).resolve() == CONF:
            search_path.append("unlearning", f"{SCHEME}://table", anchor=SearchPathQuery(provider="main"))


class Tables(ConfigSource):
    """Serves the settings of a table's rows; they are empty if there is no such table or no row applies."""

    @staticmethod
    def scheme() -> str:
        return SCHEME

    def load_config(self, config_path: str) -> ConfigResult:
        if not self.is_config(config_path):
            raise ConfigLoadError(f"Config not found: {config_path}")
        return ConfigResult(self.provider, self.full_path(), OmegaConf.create(content(config_path)), {"package": None})

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        return False

    def is_config(self, config_path: str) -> bool:
        rows = config_path.startswith("table/") and config_path.count(":") == len(CONDITIONS)
        return rows or config_path == OFF or config_path.startswith(NULL)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        return []


def content(config_path: str) -> dict[str, Any]:
    """The content of a config, with its defaults list."""
    if config_path == OFF:
        return {}
    if config_path.startswith(NULL):
        return empty(config_path.removeprefix(NULL))
    name, dataset, model, scenario = config_path.removeprefix("table/").split(":")
    found = settings(rows_for(name, dataset, model, scenario, folders()))
    # Hydra merges nodes. Where a row replaces one whole, the old one must first be gone.
    gone: list[Any] = [f"/{NULL}{key}@_here_" for key in replaced(found)]
    return {"defaults": [*gone, "_self_"], **found} if gone else found


def empty(key: str) -> dict[str, Any]:
    """Null at a dotted key."""
    first, _, rest = key.partition(".")
    return {first: empty(rest) if rest else None}


def folders() -> list[Path]:
    """The configuration folders: this project's, and that of ``--config-dir``.

    Those of ``hydra.searchpath`` serve every group but this one: Hydra does not show them to a source.
    """
    hydra = GlobalHydra.instance()
    if not hydra.is_initialized():
        return [CONF]
    return folders_of((source.scheme(), source.path) for source in hydra.config_loader().get_sources())
