"""A user's own checkpoint, compared with what the results of a run say of it."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..errors import UserError
from .comparison import Check
from .files import file_digest

INDEX = ".safetensors.index.json"


def checks(results: Mapping[str, Any], file: Path) -> list[Check]:
    """The digest of the file and that of the original's tensors, as stated and as they are.

    A file that cannot be read as that of the run is another one, unless it has its digest.

    Raises ``UserError`` where the run had no checkpoint of a user's, and where the file cannot be read.
    """
    about = results.get("checkpoint")
    if about is None:
        raise UserError("the run made its original model itself: leave --model out", kind="conflict")
    digest = Check("checkpoint/sha256", about["sha256"], whole_digest(file))
    try:
        tensors = read(file, about["inside"])
        found = tensors_digest(tensors, about["besides"])
    except Exception as error:  # the readers raise anything on a file that is not a checkpoint
        if not digest.agrees:
            return [digest, Check("original_weights", results["original_weights"], None)]
        raise UserError(f"{file} cannot be read as the checkpoint of the run: {error}", kind="file") from None
    return [digest, Check("original_weights", results["original_weights"], found)]


def read(file: Path, inside: list[str]) -> Mapping[str, Tensor]:
    """The tensors of a file; nothing in it is run."""
    if file.name.endswith(INDEX):
        return {name: tensor for shard in shards(file) for name, tensor in load_file(shard).items()}
    if file.suffix == ".safetensors":
        return load_file(file)
    with torch.serialization.safe_globals([argparse.Namespace]):  # as training scripts save their settings
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
    for name in inside:
        content = content[name]
    found: Mapping[str, Tensor] = content
    return found


def shards(index: Path) -> list[Path]:
    """The files of a model in shards, all beside its index."""
    names = {Path(str(name)).name for name in json.loads(index.read_text())["weight_map"].values()}
    return [index.with_name(name) for name in sorted(names)]


def whole_digest(file: Path) -> str:
    """SHA-256 of a file; with the index of a model in shards, of the digests of all safetensors beside it."""
    beside = sorted(file.parent.glob("*.safetensors")) if file.name.endswith(INDEX) else []
    found = [file_digest(part) for part in (file, *beside)]
    return hashlib.sha256("".join(found).encode()).hexdigest() if beside else found[0]


def tensors_digest(tensors: Mapping[str, Tensor], besides: list[str]) -> str:
    """SHA-256 over the tensors by name; those of the network in float32, in which they were used."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        used = tensor.detach().float() if tensor.is_floating_point() and name not in besides else tensor.detach()
        digest.update(f"{name} {used.dtype} {tuple(used.shape)}".encode())
        digest.update(used.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
