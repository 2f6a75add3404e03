"""Keep freed memory, and keep imports out of garbage collection."""

from __future__ import annotations

import atexit
import ctypes
import gc
import platform
from collections.abc import Iterator
from contextlib import contextmanager

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
