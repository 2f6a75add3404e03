"""Data and evaluation: the loader by itself, and all that comes after unlearning against one pass over the data."""

from __future__ import annotations

import copy
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from unlearning.config import build
from unlearning.data.datamodule import Transform
from unlearning.engine.predict import predict
from unlearning.engine.store import Store
from unlearning.metrics.base import Evidence, evaluate, gaps

from .measure import Claim, cpu_seconds, paired_ratio
from .setting import Bench, synthetic

BATCH = 256  # the fastest for a forward pass of this network


def loader(repetitions: int, images: int = 12_800) -> list[Claim]:
    """CPU microseconds an image of one epoch of the training loader, transferred, normalised and augmented."""
    claims = []
    for augmented, what, target in ((True, "per-sample crop + flip", 30), (False, "no augmentation", 6)):
        read = reader(Bench(synthetic(images, augmented=augmented)))
        count = read()
        seconds = statistics.median(cpu_seconds(read) for _ in range(3 * repetitions))
        claims.append(Claim(f"loader, {what}", 1e6 * seconds / count, target, unit="us/image"))
    return claims


def reader(bench: Bench) -> Callable[[], int]:
    """A function that reads one epoch of the retain stream as ``Trainer.fit`` does, and counts the images."""
    data = bench.datamodule()
    data.trainer = SimpleNamespace(lightning_module=bench.method("finetune"), world_size=1)

    def read() -> int:
        batches = (data.on_after_batch_transfer(batch, 0) for batch, _, _ in iter(data.train_dataloader()))
        return sum(len(batch["retain"].images) for batch in batches)

    return read


def evaluation(pairs: int) -> Claim:
    """Predictions of the unlearned model, cached ones of the other two, all default metrics of the three, the gaps."""
    bench = Bench(synthetic(3_000, held_out=500))
    with tempfile.TemporaryDirectory() as root:
        store = Store(Path(root))
        whole = Evaluation(bench, store)
        whole()  # fills the cache
        ratio = paired_ratio(whole, lambda: forward_pass(bench), 2 * pairs)
    return Claim(
        "whole default evaluation / one forward pass",
        ratio,
        1.3,
        note=f"{len(bench.data.labels):,} images, 3 models, {len(whole.values)} numbers each",
    )


class Evaluation:
    """What a run does after the unlearning, with the reference models' predictions in the store."""

    def __init__(self, bench: Bench, store: Store) -> None:
        self.bench, self.store = bench, store
        self.metrics = build.metrics(bench.config)
        self.references = [copy.deepcopy(bench.network) for _ in range(2)]

    def __call__(self) -> None:
        bench = self.bench
        original, retrained = (self.cached(i, network) for i, network in enumerate(self.references))
        unlearned = self.predicted(bench.network)
        parts = Evidence(original, bench.data.labels, bench.split, bench.data.classes, original, retrained)
        rows = [evaluate(self.metrics, parts.of(logits)) for logits in (original, retrained, unlearned)]
        assert not any(failed for _, failed in rows), rows
        self.values = rows[2][0]
        gaps(self.metrics, self.values, rows[1][0])

    def cached(self, number: int, network: nn.Module) -> Tensor:
        key = {"model": number}
        return self.store.get_or_create("predictions", key, lambda: ({"logits": self.predicted(network)}, {})).tensors[
            "logits"
        ]

    def predicted(self, network: nn.Module) -> Tensor:
        return predict(network, build.trainer(self.bench.config, 0, []), self.bench.datamodule())


@torch.inference_mode()
def forward_pass(bench: Bench) -> None:
    """Every image once through the network, in the fastest batches."""
    transform, network = Transform(bench.data), bench.network.eval()
    for images in bench.data.inputs.split(BATCH):
        network(transform(images))
