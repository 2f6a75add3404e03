"""One run in two processes (gloo on the CPU, started by torchrun), which takes the same path as on several GPUs."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.command_line import start
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

SHORT = ("tracking=none", "pretrain.epochs=6")
TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")  # torchrun


def run(python: Sequence[str]) -> str:
    """The output of a Python process with one thread."""
    done = subprocess.run(
        [sys.executable, *python],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def together(root: Path, *words: str) -> dict[str, Any]:
    """Results of a run in two processes."""
    lines = run([*TWO, "run.py", "trainer=ddp", "trainer.accelerator=cpu", *SHORT, f"paths.root={root}", *words])
    shown = [line for line in lines.splitlines() if line.endswith("results.json")]
    assert len(shown) == 1  # one process speaks
    return json.loads(Path(shown[0]).read_text())


def alone(root: Path, *words: str) -> dict[str, Any]:
    """Results of a run in one process, in a folder of its own."""
    out, err = start(*SHORT, f"paths.root={root}/alone", *words).communicate(timeout=300)
    assert err == ""
    return json.loads(Path(out.splitlines()[-1]).read_text())


def weights_of(root: Path, run: dict[str, Any]) -> Path:
    """The unlearned weights of a run, by its results."""
    return next(root.glob(f"multirun/*-{run['run_key'][:12]}/unlearned.safetensors"))


def original(root: Path, *data: str) -> tuple[Path, str]:
    """An original model that two processes made, once for each data set: a file in float32, and the digest of weights.

    A run whose trainer is double has weights of float64, about which a run that starts from them would speak.
    """
    found = together(root, "method=original", *EVEN, *data)
    file = root / f"{found['weights']}.safetensors"
    if not file.exists():
        weights = load_file(weights_of(root, found))
        save_file({name: w.float() if w.is_floating_point() else w for name, w in weights.items()}, file)
    return file, found["weights"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ddp")


@pytest.mark.parametrize(
    "words",
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
def test_two_processes(words: list[str], root: Path) -> None:
    found = together(root, *words)
    assert found["failed"] == {}
    assert found["rows"]["original"]["retain/acc"] > 0.95
    assert found["rows"]["retrained"]["forget/acc"] < 0.05
    assert len(list((root / "store" / "models").glob("*.safetensors"))) == 2  # trained once, for every method


def test_a_mistake_is_told_by_each_process_and_ends_all(root: Path) -> None:
    command = [*TWO, "run.py", "trainer=ddp", "trainer.accelerator=cpu", *SHORT, f"paths.root={root}"]
    done = subprocess.run(
        [sys.executable, *command, "scenario.classes=[99]"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    assert "error: dataset digits has no class 99" in done.stderr


def test_addons_decide_alike_in_two_processes_and_as_in_one() -> None:
    """Each process has one of the two samples of a batch: the mean of their gradients is that of one process."""
    one, two = (json.loads(run([*launcher, "-m", "tests.slow.stacks"]).splitlines()[-1]) for launcher in ((), TWO))
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
    both = together(root, *method)
    expected = sum(passes * both["sizes"][stream] for stream, passes in forward.items())
    assert both["cost"]["cost/forward"] == pytest.approx(expected, abs=3)


EVEN = ["scenario.count=100", "split.validation=0.11", "split.test=0.2", "retrained=false", "trainer.precision=64-true"]
STEPS = ["method.epochs=2", "method.batch_norm=eval"]
TWO_CLASSES = ["dataset=wine", "dataset.name=breast_cancer", "scenario=random"]  # of two classes one label is wrong


@pytest.mark.parametrize(
    "method",
    [
        ["method=finetune", *STEPS],
        ["method=neggrad_plus", "addon=[prune_imp]", "addon.prune_imp.epochs=1", *STEPS],
        ["method=neggrad_plus", *STEPS],
        ["method=scrub", "method.forget_batch_size=5000", *STEPS],
        ["method=scrub_joint", *STEPS],
        ["method=msg", *STEPS],
        ["method=conv_transpose", *STEPS],
        ["method=random_label", *STEPS, *TWO_CLASSES],
        ["method=rl_proximal", *STEPS, *TWO_CLASSES],
        ["method=cf_k", "method.k=2", *STEPS],
        ["method=boundary_shrink", "method.retain_weight=0.5", "method.attack.radius=0.3", *STEPS],
        ["method=langevin", "method.attack.random_start=true", "method.retain_weight=0.5", *STEPS],
        ["method=langevin", "method.attack.noise=cauchy", "method.targets=soft", *STEPS],
        ["method=enhanced_shrink", *STEPS],
        ["method=boundary_expand", *STEPS],
        [
            "method=compose",
            *STEPS,
            "method.forget.batch_norm=eval",
            "method.remain.batch_norm=eval",
            "method.forget.batch_size=5000",
            "method.remain.batch_size=5000",
            "method.remain.optimizer.lr=0.001",
        ],
        ["method=noisy_sgd", *STEPS],
        ["method=eu_k", "method.k=2", *STEPS],
        ["method=influence_filter", "method.threshold=2", *STEPS],
        ["method=fisher_new"],
        ["method=wood_fisher", "method.samples=200"],
        ["method=wood_fisher", "method.samples=200", "method.memory_gib=0", "method.iterations=5"],
    ],
    ids="-".join,
)
def test_the_number_of_processes_does_not_decide_the_result(method: list[str], root: Path) -> None:
    """Steps on all of an even number of samples, from the same original model: no order is drawn, and nothing padded.

    So the results agree to rounding, noise and random starts included, although they have keys of their own. BatchNorm
    is in eval mode: in train mode each process normalises by the half of a batch that it has, so that weights differ.
    """
    data = [word for word in method if word in TWO_CLASSES]
    checkpoint = f"pretrain.checkpoint={original(root, *data)[0]}"
    words = [*EVEN, *method, "method.batch_size=5000", checkpoint]
    both = together(root, *words)
    assert [both["sizes"][stream] % 2 for stream in ("forget", "retain")] == [0, 0]
    one = alone(root, *words)
    assert one["run_key"] != both["run_key"]
    found, expected = load_file(weights_of(root, both)), load_file(weights_of(root / "alone", one))
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-9, atol=1e-12)


def test_training_in_two_processes_makes_other_weights_under_another_key(root: Path) -> None:
    """Each process has half a batch for the statistics of BatchNorm: no key may stand for both models."""
    one, (file, weights) = alone(root, "method=original", *EVEN), original(root)
    assert load_file(weights_of(root / "alone", one)).keys() == load_file(file).keys()
    assert one["weights"] != weights


def test_processes_share_the_images_with_the_trigger(root: Path) -> None:
    """Each process predicts a part of the samples; gathered, they equal the predictions of one process."""
    words = ["scenario=poison", "scenario.count=100", "method=original", "split.validation=0.1", "split.test=0.2"]
    trained = together(root, *words)
    checkpoint = f"pretrain.checkpoint={weights_of(root, trained)}"  # one model for both
    both, one = together(root, *words, checkpoint), alone(root, *words, checkpoint)
    assert both["rows"]["original"]["backdoor/attack"] > 0.5
    for row in ("original", "unlearned"):
        for name in ("backdoor/attack", "corrective/acc_unseen"):
            assert both["rows"][row][name] == pytest.approx(one["rows"][row][name], abs=0.003)  # 1 of 360 images
