"""The data as Lightning sees it: the streams that a method's feed names, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import lightning as L
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch import Tensor
from torch.utils.data import DataLoader

from ..errors import UserError
from ..types import Batch, Looks, Networks, Split, Task
from .datasets import Dataset
from .feed import STREAMS, Feed, Order, Phase, Plan
from .rows import Rows, as_is
from .transform import Transform

if TYPE_CHECKING:
    from collections.abc import Sequence


class Fed(Protocol):
    """A method as the data module sees it."""

    @property
    def phase(self) -> Phase: ...

    @property
    def feed(self) -> Feed: ...

    @property
    def streams(self) -> Sequence[str]: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> Any: ...  # torch.dtype; Lightning declares that it might be a string


class UnlearningData(L.LightningDataModule):
    """Hands a method the streams of its feed, with labels only if it may see them.

    Args:
        dataset, split, task: the parts of a problem.
        networks: makers of networks of the original's architecture, for methods that need some.
        predict_batch_size: samples in a batch of predictions and of looks.
        predicted: ids of the samples that prediction passes over, in any order; all where it is None.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: Split,
        task: Task,
        networks: Networks | None = None,
        predict_batch_size: int = 256,
        predicted: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.dataset, self.split, self.task, self.networks = dataset, split, task, networks
        self.predict_batch_size = predict_batch_size
        self.predicted = torch.arange(len(dataset.labels)) if predicted is None else predicted
        self.transform = Transform(dataset)
        self.share_seed = torch.initial_seed() % 2**63
        self.is_forget = torch.zeros(len(dataset.labels), dtype=torch.bool)
        self.is_forget[split.forget] = True

    def state_dict(self) -> dict[str, int]:
        return {"share_seed": self.share_seed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.share_seed = state["share_seed"]

    def stream(self, name: str, retain_share: float = 1.0) -> Tensor:
        """Ids of a stream; ``retain_share`` < 1 keeps that random part of the retain samples."""
        if name not in STREAMS:
            raise ValueError(f"a method may see {', '.join(STREAMS)}; it asks for {name!r}")
        if name in ("forget", "validation"):
            return self.split.sets[name]
        retain = self.split.retain
        if retain_share < 1:  # the same part in every epoch
            order = torch.randperm(len(retain), generator=torch.Generator().manual_seed(self.share_seed))
            retain = retain[order[: max(1, round(retain_share * len(retain)))]]
        if name == "retain":
            return retain
        # Sorted, so that what the original model learns, and in which order, does not depend on what will be forgotten.
        return torch.cat([self.split.forget, retain]).sort().values

    @property
    def bounds(self) -> tuple[Tensor, Tensor] | None:
        """Black and white as a network sees them, (C, 1, 1) each; None for float samples, of which only data tell."""
        return self.dataset.bounds if self.dataset.has_pixels else None

    def drawn(self, name: str, feed: Feed) -> Tensor:
        """Ids of a stream that the steps draw from."""
        ids = self.stream(name, feed.retain_share)
        return ids if feed.left_out is None else ids[~torch.isin(ids, feed.left_out.cpu())]

    def plan(self, name: str, feed: Feed) -> Plan:
        """How the steps draw a stream.

        Raises ``UserError`` where every batch would be a lone sample, on which BatchNorm cannot train.
        """
        processes = self.processes  # they share a batch, whose size does not follow their number
        samples = -(-len(self.drawn(name, feed)) // processes)  # the distributed sampler pads to equal shares
        size = max(1, min(feed.batch_sizes[name] // processes, samples))
        if feed.full_batches and min(size, samples) == 1:
            raise UserError(
                f"the {name} stream comes in batches of one sample, on which BatchNorm cannot train: use a larger "
                "forget or retain set, a larger batch size, or method.batch_norm=eval",
                key="method.batch_size",
            )
        return Plan(samples, size, feed.full_batches and samples % size == 1)

    def steps(self, feed: Feed) -> int:
        """Steps of an epoch over a feed."""
        if isinstance(feed.steps, int):
            return feed.steps
        if feed.steps is None:
            return max((self.plan(stream, feed).steps for stream in feed.streams), default=0)
        return self.plan("forget", replace(feed, full_batches=feed.full_batches and "forget" in feed.streams)).steps

    @property
    def processes(self) -> int:
        """Processes of the trainer that share each batch."""
        return self.trainer.world_size if self.trainer else 1

    def train_dataloader(self) -> CombinedLoader | DataLoader[Any]:
        feed, declared = self.method.phase.feed, self.method.feed
        if "validation" in feed.streams or not {*feed.streams} <= {*declared.streams} or feed.labels > declared.labels:
            raise ValueError(
                f"{type(self.method).__name__} declares {declared.streams} (labels: {declared.labels}), and a phase "
                f"draws {feed.streams} (labels: {feed.labels})"
            )
        loaders: dict[str, Any] = {name: self.loader(name, feed) for name in feed.streams}
        if not loaders:  # a method that makes its own inputs: its batches are numbers, which the processes share
            return DataLoader(range(self.steps(feed) * self.processes), batch_size=None)  # type: ignore[arg-type]
        if feed.steps is not None:
            return CombinedLoader({"step": range(self.steps(feed))} | loaders, "max_size_cycle")
        return CombinedLoader(loaders, feed.pairing)

    def ordered(self, ids: Tensor, order: Order) -> Tensor:
        """Ids in an order of a feed; as they are where the loader is to shuffle them."""
        if order == "shuffled":
            return ids
        fine = None if order == "by_class" or self.split.forget_classes else self.dataset.fine_labels
        classes = self.dataset.labels if fine is None else fine
        ids = ids[classes[ids].argsort(stable=True)]
        return ids if order == "by_class" else torch.cat([ids[~self.is_forget[ids]], ids[self.is_forget[ids]]])

    @property
    def method(self) -> Fed:
        """The method that the trainer fits."""
        return self.trainer.lightning_module  # type: ignore[union-attr,return-value]

    def loader(self, name: str, feed: Feed) -> DataLoader[Any]:
        """Batches of a stream for the steps."""
        ids = self.ordered(self.drawn(name, feed), feed.order)
        plan = self.plan(name, feed)
        return DataLoader(
            Rows(self.dataset, ids, self.is_forget, feed.labels),
            batch_size=plan.batch_size,
            shuffle=feed.order == "shuffled",
            drop_last=plan.drops_lone,
            collate_fn=as_is,
        )

    def batches(
        self,
        name: str,
        device: torch.device,
        labels: bool = True,
        retain_share: float = 1.0,
        shuffle: torch.Generator | None = None,
        augment: bool = False,
        batch_size: int | None = None,
    ) -> Iterator[Batch]:
        """One pass over a stream outside the training loop, for masks and searches.

        Samples come in order, or shuffled by the generator ``shuffle``; without labels they come in no order, since
        many data sets are sorted by class. They are un-augmented; with ``augment``, which is for training, they are
        augmented and a last batch of one sample is left out. ``batch_size`` is that of predictions unless the result
        depends on it.
        """
        rows = Rows(self.dataset, self.stream(name, retain_share), self.is_forget, labels)
        size = batch_size or self.predict_batch_size
        own = shuffle or torch.Generator()  # a loader draws a seed from it; a look must not change what training draws
        mixed = shuffle is not None or not labels
        lone_tail = augment and len(rows) % size == 1 < len(rows)
        for batch in DataLoader(rows, size, mixed, drop_last=lone_tail, collate_fn=as_is, generator=own):
            yield self.prepare(move_data_to_device(batch, device), augment)

    def batches_for(
        self,
        method: Fed,
        name: str,
        asker: Looks | None = None,
        shuffle: torch.Generator | None = None,
        augment: bool = False,
        batch_size: int | None = None,
    ) -> Iterator[Batch]:
        """One pass over a stream for a method, or for the add-on ``asker``, which must have declared the stream.

        The batches hold the method's share of the stream, with labels only if the method or the add-on may see them.
        Raises ``ValueError`` for a stream that was not declared.
        """
        declared = (*method.streams, *method.feed.looks) if asker is None else asker.looks
        if name not in declared:
            who = type(asker or method).__name__
            raise ValueError(f"{who} declares the streams {tuple(declared)} and asks for {name!r}")
        labels = method.feed.labels if asker is None else asker.sees_labels
        found = self.batches(name, method.device, labels, method.phase.feed.retain_share, shuffle, augment, batch_size)
        return (batch._replace(images=batch.images.to(method.dtype)) for batch in found)  # as the trainer would

    def predict_dataloader(self) -> DataLoader[Any]:
        """Every sample of ``predicted`` once, in order, as it is."""
        rows = Rows(self.dataset, self.predicted, self.is_forget)
        return DataLoader(rows, batch_size=self.predict_batch_size, collate_fn=as_is)

    def on_after_batch_transfer(self, batch: Any, _: int) -> Any:
        if isinstance(batch, dict):
            augment = self.method.phase.feed.augment
            parts = {name: part for name, part in batch.items() if name != "step"}
            return {name: None if part is None else self.prepare(part, augment) for name, part in parts.items()}
        return self.prepare(batch, augment=False) if isinstance(batch, Batch) else batch

    def prepare(self, batch: Batch, augment: bool) -> Batch:
        """A batch as a network sees it, in the precision of the trainer's module."""
        images = self.transform(batch.images, augment, batch.ids)
        module = self.trainer and self.trainer.lightning_module
        return batch._replace(images=images.to(module.dtype) if module else images)  # precision=64-true and the like
