"""Content-addressed cache of trained models and predictions: made once, checked on every load, never half-written."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ..data.datasets import Dataset
from ..data.decoding import note as note_names
from ..data.decoding import places
from ..errors import UserError
from ..runtime.distributed import lead, leads
from ..runtime.shared_files import exclusive, explained, write_atomic
from .key import Key, canonical

log = logging.getLogger("unlearning")

Facts = dict[str, Any]  # what JSON can hold
Contents = tuple[dict[str, Tensor], Facts]

DATASETS = "datasets"  # the folder of the notes about data sets, by the digest of their samples
IMAGES = "images"  # decoded pixels, each array with files of the same name beside it


@dataclass(frozen=True)
class Entry:
    """The content of the store under one key."""

    tensors: dict[str, Tensor]  # contiguous, on the CPU
    facts: Facts  # what the making cost (seconds, sample passes), so that a cached result still tells its true cost
    cached: bool  # it was there already; False if this call made it
    path: Path


class Store:
    """Entries are ``<root>/<kind>/<digest of the key>.safetensors``; the files keep key and facts in their metadata.

    Processes that share the root make each entry once. Under torch.distributed every rank calls
    :meth:`get_or_create` and all ranks see the same file system.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def get_or_create(self, kind: str, key: Key, make: Callable[[], Contents], again: bool = False) -> Entry:
        """The entry of ``key``; ``make() -> (tensors, facts)`` is called if there is none, or none that is whole.

        ``again`` replaces an entry that is there.

        Only rank 0 holds the lock, decides and writes; on a miss every rank calls ``make``, since training is
        collective. Raises :class:`UserError` where the entry cannot be written.
        """
        path = self.root / kind / f"{key.digest}.safetensors"
        began = time.perf_counter()
        with ExitStack() as held:
            cached = lead(lambda: find(path, key, held, again))
            if not cached:
                tensors, facts = make()
                lead(lambda: write_atomic(path, pack(tensors, key, facts), "paths.store"))
        tensors, facts = load(path, key)
        if cached and leads():
            with suppress(OSError):
                os.utime(path)  # when it was last used: what was not used for long is trimmed first
        done = "found" if cached else "made"
        log.info("%s %s: %s in %.1f s", kind, key.digest[:12], done, time.perf_counter() - began)
        return Entry(tensors, facts, cached, path)

    # Entries that are replaced and removed while something else is made

    def write(self, kind: str, key: Key, tensors: Mapping[str, Tensor]) -> None:
        """Write an entry over the one that may be there. Raises :class:`UserError` where it cannot be written."""
        write_atomic(self.root / kind / f"{key.digest}.safetensors", pack(tensors, key, {}), "paths.store")

    def read(self, kind: str, key: Key) -> dict[str, Tensor] | None:
        """The tensors of an entry; None where there is none that is whole."""
        with suppress(FileNotFoundError, CorruptError):
            return load(self.root / kind / f"{key.digest}.safetensors", key)[0]
        return None

    def drop(self, kind: str, key: Key) -> None:
        """Remove an entry, if it is there."""
        with suppress(OSError):
            (self.root / kind / f"{key.digest}.safetensors").unlink()

    def note(self, dataset: Dataset) -> None:
        """Note which folder and which decoded pixels the samples of a data set are of, so that they can be purged."""
        facts = dataset.metadata
        if facts is None or facts.folder is None or not leads():
            return
        file = self.root / DATASETS / f"{dataset.digest}.json"
        own = {"folders": places(facts.folder), "arrays": [facts.array] if facts.array else []}
        try:
            known = json.loads(file.read_text())
        except (OSError, ValueError):
            known = {}
        if facts.array and not (names := self.root / IMAGES / f"{facts.array}.json").exists():  # purged meanwhile
            with explained(names, "paths.store"):
                names.parent.mkdir(parents=True, exist_ok=True)
                note_names(names, [facts.folder / str(name) for name in facts.columns["file"]], facts.folder)
        merged = {name: list(dict.fromkeys([*known.get(name, []), *values])) for name, values in own.items()}
        if merged != known:
            write_atomic(file, canonical(merged).encode(), "paths.store")


def find(path: Path, key: Key, held: ExitStack, again: bool) -> bool:
    """Whether the entry of ``key`` is at ``path``, whole and wanted.

    If it is not, the caller's ``held`` now owns the lock for making it. ``again`` asks for it to be made anew in any
    case.
    """
    with suppress(FileNotFoundError, CorruptError):
        if not again:
            return bool(load(path, key))
    held.enter_context(exclusive(path, "paths.store"))
    for stale in path.parent.glob(f".{path.name}.*.tmp"):  # of a process that was killed as it wrote
        stale.unlink()
    try:
        return not again and bool(load(path, key))  # another process may have made it while this one waited
    except FileNotFoundError:
        return False
    except CorruptError as error:
        log.warning("%s is corrupt (%s): making it again", path, error)
        return False


class CorruptError(Exception):
    """A file that is not what was written."""


def pack(tensors: Mapping[str, Tensor], key: Key, facts: Facts) -> bytes:
    """The bytes of an entry's file."""
    # copies, since safetensors refuses tensors that share memory, as tied weights and views do
    whole = {n: t.detach().to("cpu", copy=True, memory_format=torch.contiguous_format) for n, t in tensors.items()}
    metadata = {"key": canonical(key.parts), "facts": canonical(facts)}
    return safetensors.torch.save(whole, metadata | {"sha256": checksum(whole, metadata)})


def load(path: Path, key: Key) -> Contents:
    """Tensors and facts of the entry of ``key``. Raises FileNotFoundError, CorruptError with the reason, or UserError.

    A file that holds another entry, whole as it may be, is corrupt: it has been moved or renamed.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is not a mapping
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(
            f"cannot read {path} ({error.strerror or error}): set paths.store=DIR", key="paths.store", kind="storage"
        ) from error
    except safetensors.SafetensorError as error:
        raise CorruptError(error) from error
    claimed = metadata.pop("sha256", None)
    if claimed != checksum(tensors, metadata):
        raise CorruptError("its checksum does not match")
    if metadata.get("key") != canonical(key.parts):
        raise CorruptError("it holds the entry of another key")
    return tensors, json.loads(metadata["facts"])


def checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256 over the metadata and each tensor's name, dtype, shape and bytes."""
    checksum = hashlib.sha256(canonical(metadata).encode())
    for name, tensor in sorted(tensors.items()):
        checksum.update(canonical([name, str(tensor.dtype), list(tensor.shape)]).encode())
        checksum.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return checksum.hexdigest()
