"""On a GPU: runs agree with those on the CPU up to rounding, and the Python API leaves networks where they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from unlearning import unlearn
from unlearning.cli import call

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]
DEVICE = "cuda"


@pytest.mark.parametrize("method", ["finetune", "neggrad_plus", "scrub", "ssd"])
def test_a_run_agrees_with_the_cpu(method: str, tmp_path: Path) -> None:
    found = {}
    for trainer in ("cpu", "gpu"):
        root = tmp_path / trainer
        settings = [f"trainer={trainer}", f"method={method}", "pretrain.epochs=5", "retrained=false", "tracking=none"]
        assert call([*settings, f"paths.root={root}"]) == 0
        (file,) = root.glob("multirun/*/results.json")
        found[trainer] = json.loads(file.read_text())["rows"]
    for model in ("original", "unlearned"):
        cpu, gpu = found["cpu"][model], found["gpu"][model]
        assert [gpu[f"{name}/acc"] for name in ("forget", "retain", "test")] == pytest.approx(
            [cpu[f"{name}/acc"] for name in ("forget", "retain", "test")], abs=0.05
        )


def test_the_unlearned_network_is_on_the_device_of_the_original() -> None:
    torch.manual_seed(0)
    inputs, labels = torch.randn(60, 4), torch.arange(60) % 3
    network = nn.Linear(4, 3).to(DEVICE)
    before = network.weight.detach().clone()
    forget, retain = (inputs[labels == 2], labels[labels == 2]), (inputs[labels < 2], labels[labels < 2])
    done = unlearn(network, forget, retain, method="finetune", epochs=1, batch_size=16)
    assert next(done.model.parameters()).device.type == DEVICE
    assert torch.equal(network.weight, before)
    assert done.cost["cost/backward"] == 40
