"""Freed memory is kept for the next tensors, and returned on demand; memory that ran out is told in a line."""

import json
import platform
import subprocess
import sys

import pytest
import torch

from tests.conftest import ROOT
from unlearning.errors import UserError
from unlearning.runtime.memory import enough_memory

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")

CODE = """
import json, re, resource, sys
from unlearning.runtime.memory import keep_freed, return_freed
if "keep" in sys.argv:
    keep_freed()
def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = faults()
for _ in range(8):
    b"x" * (40 << 20)
taken = faults() - before
held = resident()
return_freed()
print(json.dumps({"faults": taken, "held": held, "returned": resident()}))
"""


def measured(*arguments: str) -> dict[str, float]:
    """Page faults and resident memory, in MiB, of a process that allocates and frees 40 MiB eight times."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_freed_blocks_are_used_again_and_can_be_returned() -> None:
    kept, plain = measured("keep"), measured()
    assert kept["faults"] < plain["faults"] / 4  # of eight blocks only the first is new
    assert kept["held"] - plain["held"] > 30
    assert kept["returned"] < kept["held"] - 30


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    ],
)
def test_memory_that_ran_out_is_one_line(error: Exception) -> None:
    with pytest.raises(UserError) as told, enough_memory():
        raise error
    assert "\n" not in str(told.value)
    with pytest.raises(RuntimeError, match="shape"), enough_memory():
        raise RuntimeError("a shape does not fit")
