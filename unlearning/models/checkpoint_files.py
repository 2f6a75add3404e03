"""The tensors in a user's file of weights: safetensors, whole or in shards, or what ``torch.save`` wrote."""

from __future__ import annotations

import argparse
import json
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..errors import UserError
from ..runtime.digests import INDEX

SHARD = re.compile(r"(?P<name>.+)-\d+-of-(?P<of>\d+)\.safetensors")
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params")

log = logging.getLogger("unlearning")

State = dict[str, Tensor]


class Stored(NamedTuple):
    """The tensors of a file by name, and the entries of the file that lead to them: empty where it holds nothing else.

    Args:
        tensors: by name.
        inside: such as ``("state_dict",)``.
    """

    tensors: State
    inside: tuple[str, ...] = ()


def read_state(path: Path, key: str) -> Stored:
    """The tensors of a file of weights; nothing in it is run.

    These are safetensors, the index of such a model in shards (``model.safetensors.index.json``), and state dicts that
    ``torch.save`` wrote, by themselves or in a dict under one of the names in ``WRAPPERS``, or as its only dict of
    tensors; a checkpoint of Lightning is such a dict.

    Raises ``UserError`` about the setting ``key`` for any other file, among them a pickled model.
    """
    if not path.is_file():
        raise UserError(f"{key}={path}: there is no such file", key=key, kind="file")
    if (part := SHARD.fullmatch(path.name)) and int(part["of"]) > 1:
        raise UserError(
            f"{key}={path} is one of {int(part['of'])} shards of a model: set {key} to the index beside it, "
            f"{part['name']}{INDEX}",
            key=key,
            kind="file",
        )
    if missing := absent(path):
        raise UserError(f"{key}={path}: there is no {missing}, which the index names", key=key, kind="file")
    try:
        if path.name.endswith(INDEX):
            return Stored({name: tensor for shard in shards(path) for name, tensor in load_file(shard).items()})
        if path.suffix == ".safetensors":
            return Stored(load_file(path))
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch comments on the pickle; the message below says what to do
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # the readers raise anything on a file that is not a checkpoint
        content = None
    found = unwrapped(content)
    if found is None:
        raise UserError(
            f"{key}={path} holds no state dict: save it as safetensors, or by torch.save(model.state_dict(), FILE); a "
            "pickled model, or a checkpoint with pickled objects beside its tensors, is not loaded, since that would "
            "run whatever code it holds",
            key=key,
            kind="file",
        )
    if empty := next((name for name, tensor in found.tensors.items() if tensor.is_meta), None):
        raise UserError(
            f"{key}={path} holds the shape of {empty} without its numbers, as of a model on the device meta: save it "
            "after the weights were loaded",
            key=key,
            kind="file",
        )
    return found


def absent(path: Path) -> str:
    """The names of the files that an index names and that are not beside it; empty where there are none."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):  # it is no index
        if path.name.endswith(INDEX):
            return ", ".join(shard.name for shard in shards(path) if not shard.is_file())
    return ""


def shards(index: Path) -> list[Path]:
    """The files that an index names, all of them beside it. Raises ``ValueError`` for an index of another kind."""
    names = sorted({str(name) for name in json.loads(index.read_text())["weight_map"].values()})
    if not all(Path(name).name == name for name in names):
        raise ValueError(names)
    return [index.with_name(name) for name in names]


def unwrapped(content: Any, inside: tuple[str, ...] = ()) -> Stored | None:
    """The state dict in what was read; None where there is none."""
    if not isinstance(content, Mapping) or not content:
        return None
    if all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()):
        return Stored({name: tensor.detach() for name, tensor in content.items()}, inside)
    found = dict(nested(content, inside))
    for name in WRAPPERS:
        if name in found:
            if others := [str(other) for other in found if other != name]:
                log.warning("The checkpoint also holds %s, not read and not unlearned", ", ".join(others))
            return found[name]
    return next(iter(found.values())) if len(found) == 1 else None


def nested(content: Mapping[Any, Any], inside: tuple[str, ...]) -> Iterator[tuple[Any, Stored]]:
    """The state dicts one level below, or two where the names of ``WRAPPERS`` lead there, by the name of the entry."""
    for name, value in content.items():
        known = name in WRAPPERS and len(inside) < 2
        if isinstance(value, Mapping) and (known or all(isinstance(part, Tensor) for part in value.values())):
            below = unwrapped(value, (*inside, str(name)))
            if below is not None:
                yield name, below
