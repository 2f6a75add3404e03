"""The composed configuration: its types, and its form as plain dicts and lists. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

from ..errors import UserError
from ..runtime.processes import processes
from ..runtime.threads import threads_for
from .messages import no_key
from .trainer import check_trainer

FIGURES = ("summary", "losses", "embeddings", "gallery", "boundary")  # that a run can be asked to draw


@dataclass
class Split:
    """``split.*``: the fractions of samples held out for validation and, without an official test part, for test.

    ``imbalance`` is the factor of ``data.long_tail.long_tailed``.
    """

    seed: int = MISSING
    validation: float = MISSING
    test: float = MISSING
    imbalance: float | None = None


@dataclass
class Paths:
    """``paths.*``: where things are."""

    root: str = MISSING
    data: str = MISSING
    store: str = MISSING
    runs: str = MISSING


@dataclass
class Schema:
    """The types of the top-level keys; the groups are checked against the signatures of what they build."""

    seed: int = MISSING
    retrained: bool = MISSING
    figures: Any = MISSING
    check: Any = None
    after: str | None = None
    force: bool = MISSING
    verbose: bool = MISSING
    trial: int | None = None
    profile: bool = MISSING
    split: Split = MISSING
    paths: Paths = MISSING
    model: Any = MISSING
    dataset: Any = MISSING
    scenario: Any = MISSING
    pretrain: Any = MISSING
    method: Any = MISSING
    addon: Any = None
    evaluation: Any = MISSING
    trainer: Any = MISSING
    tracking: Any = MISSING


def register(root: Path | None = None) -> None:
    """Make the schema and the resolvers ``${project_root:}`` and ``${if_equal:a,b,yes,no}`` known to Hydra.

    ``root`` is the folder that holds ``multirun/``, ``store/`` and ``data/``: the current one where it is None.
    """
    ConfigStore.instance().store("schema", Schema)
    OmegaConf.register_new_resolver("project_root", lambda: str(root or Path.cwd()), replace=True)
    OmegaConf.register_new_resolver("if_equal", lambda a, b, yes, no: yes if a == b else no, replace=True)


def plain(config: Any, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The composed configuration as plain dicts and lists: interpolations resolved, paths absolute.

    The trainer holds the threads of each process, and the number of processes.

    ``overrides`` are the settings of the command line. Raises ``UserError`` for a top-level key that does not exist,
    and for a seed, a trial, a path or a setting of the trainer that cannot be one.
    """
    found: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    known = {field.name: found[field.name] for field in fields(Schema)}
    if unknown := sorted(found.keys() - known.keys()):
        raise UserError(no_key(unknown[0], known_keys(known)), key=unknown[0], kind="key")
    known["addon"] = known["addon"] or {}
    seeds = {"seed": known["seed"]} | {
        f"{part}.seed": known[part]["seed"] for part in ("split", "scenario", "pretrain")
    }
    for name, seed in seeds.items():
        if not isinstance(seed, int) or not 0 <= seed < 2**31:
            raise UserError(f"{name}={seed} must be a whole number from 0 to {2**31 - 1}", key=name)
    asked = known["figures"]
    if not isinstance(asked, list) or not {*map(str, asked)} <= {*FIGURES}:
        raise UserError(f"figures={asked} must be a list of {', '.join(FIGURES)}, such as [losses]", key="figures")
    checkpoint = known["pretrain"]["checkpoint"]
    if checkpoint is not None and (not isinstance(checkpoint, str) or not checkpoint):
        raise UserError(f"pretrain.checkpoint={checkpoint} must name a file, or be null", key="pretrain.checkpoint")
    check_claim(known["check"], checkpoint)
    if (after := known["after"]) is not None:
        if not after:
            raise UserError("after is empty: name the folder of a finished run, or null", key="after")
        known["after"] = os.path.abspath(os.path.expanduser(after))
    if (trial := known["trial"]) is not None and trial < 1:
        raise UserError(f"trial={trial} must be at least 1", key="trial")
    for name, path in known["paths"].items():
        if not path:
            raise UserError(f"paths.{name} is empty: name a folder", key=f"paths.{name}")
    known["paths"] = {name: os.path.abspath(os.path.expanduser(path)) for name, path in known["paths"].items()}
    trainer = known["trainer"]
    if "processes" in trainer:
        raise UserError(
            "trainer.processes is set by the program: set trainer.devices, or start more processes by torchrun",
            key="trainer.processes",
            kind="key",
        )
    check_trainer(trainer, trial)
    explicit = any(override.lstrip("+").startswith("trainer.threads=") for override in overrides)
    trainer |= {"threads": threads_for(trainer.get("threads"), explicit), "processes": processes(trainer)}
    return known


def check_claim(claim: Any, checkpoint: str | None) -> None:
    """Raise ``UserError`` where ``check`` is not what a user can say of the accuracy of a model of their own."""
    if claim is None:
        return
    if claim is not True and (type(claim) not in (int, float) or not 0 <= claim <= 1):
        raise UserError(f"check={claim} must be an accuracy from 0 to 1, such as 0.934, or true", key="check")
    if checkpoint is None:
        raise UserError(
            "check compares the accuracy of a model of your own: set pretrain.checkpoint=FILE",
            key="check",
            kind="missing",
        )


def known_keys(node: Any, prefix: str = "") -> list[str]:
    """Every key of a configuration, dotted."""
    if not isinstance(node, Mapping):
        return []
    keys = [f"{prefix}{key}" for key in node]
    return keys + [inner for key, child in node.items() for inner in known_keys(child, f"{prefix}{key}.")]
