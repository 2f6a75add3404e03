"""One run in two processes (gloo on the CPU, as torchrun starts them): the same road as on several GPUs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import ROOT

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
        ["method=neggrad_plus", "addon=[focus,l1]"],
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


def test_addons_decide_alike_in_two_processes_and_as_in_one() -> None:
    """Each process has one of the two samples of a batch: the mean of their gradients is that of one process."""
    found = []
    for launcher in ([], ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]):
        command = [sys.executable, *launcher, "-m", "tests.slow.stacks"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        environment.pop("PL_GLOBAL_SEED", None)  # of an earlier test: two processes would take it, one would not
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        found.append(json.loads(done.stdout.strip().splitlines()[-1]))
    one, two = found
    assert one.keys() == two.keys()
    for name in one:
        assert two[name] == pytest.approx(one[name], abs=1e-9), name


@pytest.mark.parametrize(
    ("method", "forward"),
    [
        (["method=finetune", "method.epochs=1"], {"retain": 1}),
        (["method=assd_repair", "method.repair.epochs=1"], {"forget": 1, "retain": 2}),
    ],
    ids=["finetune", "assd_repair"],
)
def test_processes_share_a_batch(method: list[str], forward: dict[str, int], root: Path) -> None:
    """Two processes of half a batch each count the passes of one, but for the sampler's padding."""
    both = torchrun(root, *method)
    expected = sum(passes * both["sizes"][stream] for stream, passes in forward.items())
    assert both["cost"]["cost/forward"] == pytest.approx(expected, abs=3)


EVEN = ["scenario.count=100", "split.validation=0.11", "retrained=false", "trainer.precision=64-true"]


def alone(root: Path, *arguments: str) -> dict:
    """Results of a run in one process, in a folder of its own."""
    command = [sys.executable, "run.py", *arguments, f"paths.root={root}/alone", "tracking=none", "pretrain.epochs=6"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True, timeout=300)
    return json.loads(Path(done.stdout.strip().splitlines()[-1]).read_text())


def weights_of(root: Path, run: dict) -> Path:
    """The unlearned weights of a run, by its results."""
    return next(root.glob(f"multirun/*-{run['run_key'][:12]}/unlearned.safetensors"))


def original(root: Path, *data: str) -> tuple[Path, str]:
    """An original model that two processes made, once for each data set: its file, and the digest of its weights."""
    found = torchrun(root, "method=original", *EVEN, *data)
    return weights_of(root, found), found["weights"]


STEPS = ["method.epochs=2", "++method.batch_norm=eval"]
TWO_CLASSES = ["dataset=wine", "dataset.name=breast_cancer", "scenario=random"]  # of two classes one label is wrong


@pytest.mark.parametrize(
    "method",
    [
        ["method=finetune", *STEPS],
        ["method=neggrad_plus", "addon=[prune_imp]", "addon.prune_imp.epochs=1", *STEPS],
        ["method=scrub_joint", *STEPS],
        ["method=msg", *STEPS],
        ["method=conv_transpose", *STEPS],
        ["method=random_label", *STEPS, *TWO_CLASSES],
        ["method=rl_proximal", *STEPS, *TWO_CLASSES],
        ["method=cf_k", "method.k=2", *STEPS],
        ["method=eu_k", "method.k=2", *STEPS],
        ["method=influence_filter", "method.threshold=2", *STEPS],
        ["method=fisher_new"],
        ["method=wood_fisher", "method.samples=200"],
        ["method=wood_fisher", "method.samples=200", "method.memory_gib=0", "method.iterations=5"],
    ],
    ids="-".join,
)
def test_the_number_of_processes_does_not_decide_the_result(method: list[str], root: Path) -> None:
    """Steps on all of an even number of samples, from the same original model: nothing is drawn or padded.

    So the results agree to rounding, although they have keys of their own.
    """
    data = [word for word in method if word in TWO_CLASSES]
    step = [*EVEN, *method, "method.batch_size=5000", f"pretrain.checkpoint={original(root, *data)[0]}"]
    both = torchrun(root, *step)
    assert [both["sizes"][stream] % 2 for stream in ("forget", "retain")] == [0, 0]
    one = alone(root, *step)
    assert one["run_key"] != both["run_key"]
    weights = [load_file(weights_of(place, run)) for place, run in ((root, both), (root / "alone", one))]
    for tensor, expected in zip(*(found.values() for found in weights), strict=True):
        torch.testing.assert_close(tensor, expected, rtol=1e-9, atol=1e-12)


def test_training_in_two_processes_makes_other_weights_under_another_key(root: Path) -> None:
    """Each process has half a batch for the statistics of BatchNorm: no key may stand for both models."""
    one, (file, weights) = alone(root, "method=original", *EVEN), original(root)
    assert load_file(weights_of(root / "alone", one)).keys() == load_file(file).keys()
    assert one["weights"] != weights


def test_processes_share_the_images_with_the_trigger(root: Path) -> None:
    """Each predicts a part of them, and what they gather is what one process predicts."""
    own = ["scenario=poison", "method=original"]
    both = torchrun(root, *own)
    checkpoint = f"pretrain.checkpoint={weights_of(root, both)}"  # one model for both
    both, one = torchrun(root, *own, checkpoint), alone(root, *own, checkpoint)
    assert both["rows"]["original"]["backdoor/attack"] > 0.5
    for row in ("original", "unlearned"):
        for name in ("backdoor/attack", "corrective/acc_unseen"):
            assert both["rows"][row][name] == pytest.approx(one["rows"][row][name], abs=0.003)  # 1 of 360 images
