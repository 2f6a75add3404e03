"""Reading: the loader alone, and everything that follows an unlearning against one pass over the data."""

from __future__ import annotations

import copy
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch

from unlearning.data.transform import Transform
from unlearning.engine.evaluation import Model, evaluate
from unlearning.engine.store import Store

from .measure import Claim, cpu_seconds, paired_ratio
from .setting import Bench

BATCH = 256  # the fastest for a forward pass of this network


def loader(repetitions: int, images: int = 12_800) -> list[Claim]:
    """CPU microseconds per image of one epoch of the training loader: transferred, normalised and augmented."""
    claims = []
    for augmented, what, target in ((True, "per-sample crop + flip", 30), (False, "no augmentation", 6)):
        read = reader(Bench(images, augmented=augmented))
        count = read()
        seconds = statistics.median(cpu_seconds(read) for _ in range(3 * repetitions))
        claims.append(Claim(f"loader, {what}", 1e6 * seconds / count, target, unit="us/image"))
    return claims


def reader(bench: Bench) -> Callable[[], int]:
    """A function that reads one epoch of the retain stream as ``Trainer.fit`` does, and counts its images."""
    data = bench.datamodule()
    data.trainer = SimpleNamespace(lightning_module=bench.method("finetune"), world_size=1)

    def read() -> int:
        batches = (data.on_after_batch_transfer(batch, 0) for batch, _, _ in iter(data.train_dataloader()))
        return sum(len(batch["retain"].images) for batch in batches)

    return read


def evaluation(pairs: int) -> Claim:
    """Everything that follows an unlearning, against one forward pass over all images."""
    bench = Bench(3_000, held_out=500)
    with tempfile.TemporaryDirectory() as root:
        whole = Evaluation(bench, Store(Path(root)))
        whole()  # fills the store
        ratio = paired_ratio(whole, lambda: forward_pass(bench), 2 * pairs)
    return Claim(
        "whole default evaluation / one forward pass",
        ratio,
        1.3,
        note=f"{len(bench.problem.data.labels):,} images, 3 models, {len(whole.values)} numbers each",
    )


class Evaluation:
    """The work of a run after the unlearning, with the reference models' predictions in the store.

    Each call predicts every sample with another unlearned network, whose predictions are not in the store yet, reads
    those of the other two models, and computes all default metrics of the three and the gaps.
    """

    def __init__(self, bench: Bench, store: Store) -> None:
        self.bench, self.lab = bench, replace(bench.lab, store=store)
        self.networks = {name: copy.deepcopy(bench.network) for name in ("original", "retrained")}
        self.values: dict[str, float] = {}  # the metrics of the unlearned model

    def __call__(self) -> None:
        unlearned, problem = self.bench.network, self.bench.problem
        with torch.no_grad():
            next(unlearned.parameters()).mul_(1.001)
        networks = {**self.networks, "unlearned": unlearned}
        models = {n: Model(network, self.lab.predict(problem, network), {}) for n, network in networks.items()}
        found = evaluate(problem, self.bench.job.metrics, models)
        assert not found["failed"], found["failed"]
        self.values = found["rows"]["unlearned"]


@torch.inference_mode()
def forward_pass(bench: Bench) -> None:
    """Every image once through the network, in batches of the fastest size."""
    data, network = bench.problem.data, bench.network.eval()
    transform = Transform(data)
    for images in data.inputs.split(BATCH):
        network(transform(images))
