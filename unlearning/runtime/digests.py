"""Digests of files, of index sets and of weights. Imports no torch at module level: keys must be quick to work out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from .files import files_below

if TYPE_CHECKING:
    from torch import Tensor, nn


INDEX = ".safetensors.index.json"  # how the name of the index of a model in shards ends
WHOLE = 64 * 2**20  # bytes of a folder whose files are read for its digest


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", kind="file") from None


def content_digest(path: Path) -> str:
    """SHA-256 of a file's bytes; of a folder, over the names and the content of its files.

    Of a folder of more than ``WHOLE`` bytes, the size of each file and the time when it was last written stand for its
    content: two files that were exchanged, and have both in common, are not noticed there. Files and folders that are
    reached by links count as if they were there. With the index of a model in shards, all safetensors beside it count.
    """
    if path.is_file():
        beside = sorted(path.parent.glob("*.safetensors")) if path.name.endswith(INDEX) else []
        return (
            hashlib.sha256("".join(map(file_digest, [path, *beside])).encode()).hexdigest()
            if beside
            else file_digest(path)
        )
    files, again = files_below(path)
    stats = [(file, file.stat()) for file in files if file.is_file()]
    whole = sum(stat.st_size for _, stat in stats) <= WHOLE
    listing = [
        (relative(file, path), file_digest(file) if whole else (stat.st_size, stat.st_mtime_ns)) for file, stat in stats
    ]
    linked = [(relative(place, path), relative(first, path)) for place, first in again.items()]
    return hashlib.sha256(json.dumps([listing, linked]).encode()).hexdigest()


def relative(path: Path, top: Path) -> str:
    """The name of what lies below a folder, wherever that is."""
    return path.relative_to(top).as_posix()


def ids_digest(ids: Tensor) -> str:
    """SHA-256 of an index set, whose order counts."""
    return hashlib.sha256(ids.contiguous().numpy().data).hexdigest()


def same_parameters(network: nn.Module, original: nn.Module) -> bool:
    """Whether all parameters are bit-equal, on whatever device they are."""
    import torch

    pairs = zip(network.parameters(), original.parameters(), strict=True)
    return all(torch.equal(ours.cpu(), theirs.cpu()) for ours, theirs in pairs)


def state_digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of a state dict: the names, types, shapes and bytes of its tensors."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
