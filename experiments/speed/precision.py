"""Whether bfloat16 is faster, and whether SSD then selects the same weights."""

from __future__ import annotations

import tempfile

from torch import Tensor, nn

from unlearning.config.compose import composed
from unlearning.engine.job import Job
from unlearning.gradients.vectors import weights_of

from .measure import Claim, paired_ratio
from .setting import Bench


def bf16(bench: Bench, pairs: int) -> list[Claim]:
    """SSD on a trained model of the digits in both precisions, and its time on the benchmark's network."""
    with tempfile.TemporaryDirectory() as root:
        exact, mixed = (ssd(root, precision) for precision in ("32-true", "bf16-mixed"))
        original = exact.lab.train(exact.problem, exact.recipe, exact.problem.split.train, exact.pretrain_seed).network
        (full, full_says), (half, half_says) = (dampened(job, original, exact) for job in (exact, mixed))
    shared, either = int((full & half).sum()), int((full | half).sum())
    by_sample = "method.importance=per_sample"  # as on the digits
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


def ssd(root: str, precision: str) -> Job:
    """The job of SSD on the digits in a precision."""
    return Job.of(composed("method=ssd", f"trainer.precision={precision}", "tracking=none", f"paths.root={root}")[0])


def dampened(job: Job, original: nn.Module, exact: Job) -> tuple[Tensor, Tensor]:
    """Which weights a job changes, (P,) bool, and the classes that its model then predicts as ``exact`` computes."""
    network = job.lab.unlearn(job.problem, job.method, job.addons, original, job.seed).network
    return weights_of(network) != weights_of(original), exact.lab.predict(exact.problem, network).argmax(-1)
