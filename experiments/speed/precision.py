"""What bfloat16 gains, and whether SSD then selects the same weights."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from unlearning.config import build
from unlearning.methods.ssd import SSD
from unlearning.pipeline import Run

from .measure import Claim, paired_ratio
from .setting import Bench, composed, state


def bf16(bench: Bench, pairs: int) -> list[Claim]:
    """SSD on a trained model of the digits in both precisions; and its time on the ResNet."""
    (full, full_says), (half, half_says) = (dampened(precision) for precision in ("32-true", "bf16-mixed"))
    shared, either = int((full & half).sum()), int((full | half).sum())
    by_sample = "method.importance=per_sample"  # as in the digits' preset
    ratio = paired_ratio(
        lambda: bench.fit(bench.method("ssd", by_sample)),
        lambda: bench.fit(bench.method("ssd", by_sample), "bf16-mixed"),
        pairs,
    )
    return [
        Claim(
            "SSD in bf16: selected set, intersection over union",
            shared / max(either, 1),
            0.9,
            at_least=True,
            unit="",
            note=f"{int(full.sum()):,} of {len(full):,} weights dampened in fp32",
        ),
        Claim(
            "SSD in bf16: predictions that agree with fp32",
            (full_says == half_says).double().mean().item(),
            0.9,
            at_least=True,
            unit="",
            note=f"{len(full_says):,} digits",
        ),
        Claim("SSD, fp32 / bf16", ratio, note="depends on the CPU: opt in by trainer.precision=bf16-mixed"),
    ]


def dampened(precision: str) -> tuple[Tensor, Tensor]:
    """The weights that SSD changes when it looks at the data in this precision, and what fp32 then predicts."""
    with tempfile.TemporaryDirectory() as root:
        where = f"paths.root={root}"
        exact = Run(composed(where)[0], Path(root))
        original = exact.reference("original").network
        config, _ = composed(where, "method=ssd", f"trainer.precision={precision}")
        method: SSD = build.method(config, copy.deepcopy(original))
        torch.manual_seed(0)
        run = Run(config, Path(root))
        run.fit(method, "SSD")
        run.edit(method, method.observations)
        changed = state(method.model) != state(original)
        return changed, exact.predictions(method.model, "SSD diverged").argmax(-1)
