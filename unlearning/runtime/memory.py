"""Keep freed memory, keep imports out of garbage collection, and say in a line that memory was not enough."""

from __future__ import annotations

import atexit
import ctypes
import gc
import platform
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import UserError

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # the numbers of mallopt(3)


def keep_freed() -> None:
    """Keep the memory that tensors free, for the whole process; does nothing without glibc.

    By default glibc returns large freed blocks to the kernel, which zeroes each page before handing it out again: with
    small convolutional networks on a CPU this takes 20 to 40 % of the time.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(MMAP_THRESHOLD, 2**30)
        libc.mallopt(TRIM_THRESHOLD, 2**31 - 1)


def return_freed() -> None:
    """Return the memory that was kept to the kernel, so that resident memory is memory in use."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def permanent() -> Iterator[None]:
    """Collect no garbage inside, and leave the objects made inside out of every later collection until exit.

    This is for imports: torch and its companions make nearly a million objects that stay, and searching them for
    garbage takes a tenth of a short run. At exit they count again, since the interpreter must free them: triton, which
    torchvision imports through torch's compiler, reports every object of its bindings that is not freed then.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        atexit.register(gc.unfreeze)


@contextmanager
def enough_memory() -> Iterator[None]:
    """Turn the errors by which Python, torch and CUDA say that memory ran out into a ``UserError``."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        told = " ".join(str(error).split())
        lacking = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
        if not lacking and "can't allocate memory" not in told and "CUDA out of memory" not in told:
            raise
        raise UserError(
            f"out of memory ({told[:200] or type(error).__name__}): use smaller batches (method.batch_size, "
            "pretrain.batch_size, trainer.predict_batch_size), a smaller model, or another device",
            key="trainer.predict_batch_size",
            kind="storage",
        ) from error
