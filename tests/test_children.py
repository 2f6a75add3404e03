"""What the children of a process have started is interrupted with it."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from unlearning.runtime.children import interrupt_grandchildren


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes where Linux has them")
def test_a_grandchild_is_interrupted_and_its_parent_goes_on() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
    try:
        child = subprocess.Popen(["sh", "-c", "sleep 60; echo $?"], stdout=subprocess.PIPE, text=True)
        for _ in range(200):
            interrupt_grandchildren()
            if child.poll() is not None:
                break
            time.sleep(0.05)
        assert child.communicate(timeout=60)[0] == f"{128 + signal.SIGINT}\n"
    finally:
        signal.signal(signal.SIGINT, before)
