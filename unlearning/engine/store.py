"""Content-addressed cache of trained models and predictions: made once, checked on every load, never half-written."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from ..errors import UserError
from ..runtime.distributed import lead

log = logging.getLogger("unlearning")

Facts = dict[str, float | str]

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Entry:
    """What the store holds under one key."""

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

    def get_or_create(self, kind: str, key: Mapping, make: Callable[[], tuple[dict[str, Tensor], Facts]]) -> Entry:
        """The entry of ``key``; ``make() -> (tensors, facts)`` is called if there is none, or none that is whole.

        Only rank 0 holds the lock, decides and writes; on a miss every rank calls ``make``, since training is
        collective. Raises :class:`UserError` where the entry cannot be written.
        """
        path = self.root / kind / f"{digest(key)}.safetensors"
        with ExitStack() as held:
            cached = lead(lambda: _find(path, held))
            if not cached:
                tensors, facts = make()
                lead(lambda: write_atomic(path, _pack(tensors, key, facts), "set paths.store=DIR"))
        tensors, facts = _load(path)
        return Entry(tensors, facts, cached, path)


def digest(key: Mapping) -> str:
    """SHA-256 of the canonical JSON of ``key``: nested dicts, lists, strings, numbers, booleans and None."""
    return hashlib.sha256(_canonical(key).encode()).hexdigest()


def write_atomic(path: Path, data: bytes, hint: str) -> None:
    """Write ``data`` so that ``path`` is, at any moment and after any crash, the old file or the whole new one.

    Raises :class:`UserError` if it cannot be written; ``hint`` ends the message with what the user may do about it
    (``set paths.store=DIR``).
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    with _explained(path, hint):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def exclusive(path: Path, hint: str) -> Iterator[None]:
    """Hold ``path`` (a file or a folder, which need not exist) against other processes, waiting as long as it takes.

    The lock is the hidden file ``.<name>.lock`` beside it, which stays; a process that dies lets go of it.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    with _explained(path, hint):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            log.warning("waiting for %s: another process is making it", path)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _explained(path: Path, hint: str) -> Iterator[None]:
    """A failing disk, as the one line that the user needs."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise UserError(f"no space left while writing {path}: free some space or {hint}") from error
        raise UserError(f"{error.strerror or error} while writing {path}: {hint}") from error


def _find(path: Path, held: ExitStack) -> bool:
    """Whether there is a whole entry at ``path``; if there is none, the right to make it is ``held`` on return."""
    with suppress(FileNotFoundError, _CorruptError):
        return bool(_load(path))
    held.enter_context(exclusive(path, "set paths.store=DIR"))
    for stale in path.parent.glob(f".{path.name}.*.tmp"):  # of a process that was killed as it wrote
        stale.unlink()
    try:
        return bool(_load(path))  # another process may have made it while this one waited
    except FileNotFoundError:
        return False
    except _CorruptError as error:
        log.warning("%s is corrupt (%s): making it again", path, error)
        return False


class _CorruptError(Exception):
    """A file that is not what was written."""


def _pack(tensors: Mapping[str, Tensor], key: Mapping, facts: Facts) -> bytes:
    """The bytes of an entry's file."""
    # copies, since safetensors refuses tensors that share memory, as tied weights and views do
    whole = {n: t.detach().to("cpu", copy=True, memory_format=torch.contiguous_format) for n, t in tensors.items()}
    metadata = {"key": _canonical(key), "facts": _canonical(facts)}
    return safetensors.torch.save(whole, metadata | {"sha256": _checksum(whole, metadata)})


def _load(path: Path) -> tuple[dict[str, Tensor], Facts]:
    """Tensors and facts of an entry. Raises FileNotFoundError, _CorruptError with the reason, or UserError."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror or error}): set paths.store=DIR") from error
    except safetensors.SafetensorError as error:
        raise _CorruptError(error) from error
    claimed = metadata.pop("sha256", None)
    if claimed != _checksum(tensors, metadata):
        raise _CorruptError("its checksum does not match")
    return tensors, json.loads(metadata["facts"])


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256 over the metadata and each tensor's name, dtype, shape and bytes."""
    checksum = hashlib.sha256(_canonical(metadata).encode())
    for name, tensor in sorted(tensors.items()):
        checksum.update(_canonical([name, str(tensor.dtype), list(tensor.shape)]).encode())
        checksum.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return checksum.hexdigest()


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
