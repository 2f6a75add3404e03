"""One run in two processes (gloo on the CPU, as torchrun starts them): the same road as on several GPUs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from unlearning.config import ROOT

pytestmark = pytest.mark.slow


def torchrun(root: Path, *arguments: str) -> dict:
    """Results of a run in two processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "run.py"]
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", "tracking=none", f"paths.root={root}", "pretrain.epochs=6"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *ddp, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.strip().splitlines()
    assert sum(line.endswith("results.json") for line in lines) == 1  # one process speaks
    return json.loads(Path(lines[-1]).read_text())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ddp")


@pytest.mark.parametrize(
    "arguments",
    [
        ["method=finetune", "addon=[l1]"],
        ["method=neggrad_plus", "addon=[saliency]"],
        ["method=scrub"],
        ["method=jit"],
        ["method=ssd"],
        ["method=retrain"],
    ],
    ids="-".join,
)
def test_two_processes(arguments: list[str], root: Path) -> None:
    found = torchrun(root, *arguments)
    assert found["failed"] == {}
    assert found["rows"]["original"]["retain/acc"] > 0.95
    assert found["rows"]["retrained"]["forget/acc"] < 0.05
    assert len(list((root / "store" / "models").glob("*.safetensors"))) == 2  # trained once, for every method


def test_processes_share_a_batch(root: Path) -> None:
    """Two processes of half a batch each count the passes of one, but for the sampler's padding."""
    both = torchrun(root, "method=finetune", "method.epochs=1", "trainer.precision=64-true")
    assert both["cost"]["cost/forward"] == pytest.approx(both["sizes"]["retain"], abs=1)
    weights = load_file(next((root / "multirun").glob("*finetune*/unlearned.safetensors")))
    assert weights
