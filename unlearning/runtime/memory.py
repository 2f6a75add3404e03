"""The C library's heap: whether memory that tensors free is kept for the next ones or returned to the kernel."""

import ctypes
import platform

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # the numbers of mallopt(3)


def keep_freed() -> None:
    """Keep what tensors free, for the whole process; under glibc, elsewhere nothing happens.

    As it comes, glibc returns the large blocks to the kernel, which fills every page with zeros before it lends it
    again: with small convolutional networks on a CPU this takes 20 to 40 % of the time.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(MMAP_THRESHOLD, 2**30)
        libc.mallopt(TRIM_THRESHOLD, 2**31 - 1)


def return_freed() -> None:
    """Return now what has been kept, so that resident memory is what is in use."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
