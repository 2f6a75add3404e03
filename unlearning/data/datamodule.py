"""The data as Lightning sees it: the streams that a method declares, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from ..errors import UserError
from ..types import Batch, Split, Task
from .datasets import Dataset

STREAMS = ("forget", "retain", "train", "validation")


class Rows(TorchDataset):
    """The samples ``ids`` of a data set, fetched a whole batch at a time: one gather instead of B items."""

    def __init__(self, dataset: Dataset, ids: Tensor, is_forget: Tensor, labels: bool = True) -> None:
        self.dataset, self.ids, self.is_forget, self.labels = dataset, ids, is_forget, labels

    def __len__(self) -> int:
        return len(self.ids)

    def __getitems__(self, positions: list[int]) -> Batch:
        rows = self.ids[torch.tensor(positions)]
        labels = self.dataset.labels[rows] if self.labels else None
        return Batch(self.dataset.inputs.index_select(0, rows), labels, rows, self.is_forget[rows])


def as_is(batch: Batch) -> Batch:
    """Collate function for a data set that already returns whole batches."""
    return batch


class Transform:
    """uint8 (B, H, W, C) to normalised float (B, C, H, W) in channels-last memory, augmented sample by sample.

    With the ``ids`` of the samples, those that carry the data set's trigger get it, last. Runs on whichever device the
    batch is on.
    """

    def __init__(self, dataset: Dataset) -> None:
        mean, std = torch.tensor(dataset.mean), torch.tensor(dataset.std)
        self.scale, self.shift = 1 / (255 * std), -mean / std
        self.crop, self.flip, self.rotation = dataset.crop, dataset.flip, dataset.rotation
        self.trigger, self.triggered = dataset.trigger, dataset.triggered

    def __call__(self, images: Tensor, augment: bool = False, ids: Tensor | None = None) -> Tensor:
        if images.dtype != torch.uint8:
            return images
        if augment and (self.crop or self.flip or self.rotation):
            images = self.augmented(images)
        # A factor for each value of an image: with one for each channel the inner loop would be three steps long.
        scale, shift = (f.to(images.device).expand(images.shape[1:]).contiguous() for f in (self.scale, self.shift))
        found = torch.addcmul(shift, images.float(), scale).permute(0, 3, 1, 2)
        if self.trigger is None or ids is None:
            return found
        self.triggered = self.triggered.to(ids.device)  # once, since it stays there
        return self.trigger.stamped(found, self.triggered[ids])

    def augmented(self, images: Tensor) -> Tensor:
        """Each image padded with zeros, cropped at its own offset, flipped by its own coin and turned by its own angle.

        All in one gather; pixels that a rotation brings in from outside are zero.
        """
        b, h, w, c = images.shape
        device, p = images.device, self.crop
        padded = nn.functional.pad(images, (0, 0, p, p, p, p))
        top, left = torch.randint(0, 2 * p + 1, (2, b, 1, 1), device=device)
        flip = torch.rand(b, 1, 1, device=device) < (0.5 if self.flip else 0.0)
        rows, columns = torch.arange(h, device=device)[:, None], torch.arange(w, device=device)
        outside = None
        if self.rotation:
            degrees = (2 * torch.rand(b, 1, 1, device=device) - 1) * self.rotation
            rows, columns, outside = rotated(h, w, degrees)
        columns = torch.where(flip, w - 1 - columns, columns)
        image = torch.arange(b, device=device)[:, None, None]
        pixels = (image * (h + 2 * p) + rows + top) * (w + 2 * p) + columns + left
        images = padded.view(-1, c).index_select(0, pixels.view(-1)).view(b, h, w, c)
        return images if outside is None else images.masked_fill_(outside[..., None], 0)


def rotated(height: int, width: int, degrees: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The nearest pixel that a rotation brings to each place: its row, its column, and whether it is outside.

    ``degrees`` (B, 1, 1) are counter-clockwise, about the centre; each result is (B, height, width), and what is
    outside is given as the nearest pixel of the edge.
    """
    angles = degrees.deg2rad()
    y = torch.arange(height, device=degrees.device)[:, None] - (height - 1) / 2
    x = torch.arange(width, device=degrees.device) - (width - 1) / 2
    rows = (angles.sin() * x + angles.cos() * y + (height - 1) / 2).round().long()
    columns = (angles.cos() * x - angles.sin() * y + (width - 1) / 2).round().long()
    inside = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    return *inside, (rows != inside[0]) | (columns != inside[1])


class UnlearningData(L.LightningDataModule):
    """Hands each method the streams it declares: forget, retain or train, with labels only if it may see them.

    The method (the trainer's LightningModule) says what it draws from by ``streams``, ``pairing``, ``batch_sizes``,
    ``order``, ``augment``, ``sees_labels``, ``retain_share``, ``left_out`` and ``needs_full_batches``; see
    ``methods.base.Method``. Prediction passes over the samples ``predicted``, ids in any order; all where it is None.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: Split,
        task: Task,
        eval_batch_size: int = 256,
        predicted: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.predicted = torch.arange(len(dataset.labels)) if predicted is None else predicted
        self.dataset, self.split, self.task, self.eval_batch_size = dataset, split, task, eval_batch_size
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

    def drawn(self, name: str, method: L.LightningModule) -> Tensor:
        """Ids of a stream that the method's steps draw from."""
        ids = self.stream(name, method.retain_share)
        return ids if method.left_out is None else ids[~torch.isin(ids, method.left_out.cpu())]

    def train_dataloader(self) -> CombinedLoader | DataLoader:
        method = self.trainer.lightning_module
        loaders = {name: self.loader(name, method) for name in method.streams}
        method.drawn.update(loaders)
        if not loaders:  # a method that makes its own inputs: its batches are step numbers
            return DataLoader(range(method.free_steps), batch_size=None)
        if method.wanted_steps is not None:
            return CombinedLoader({"step": range(method.wanted_steps)} | loaders, "max_size_cycle")
        return CombinedLoader(loaders, method.pairing)

    def loader(self, name: str, method: L.LightningModule) -> DataLoader:
        ids = self.drawn(name, method)
        if method.order == "by_class":
            ids = ids[self.dataset.labels[ids].argsort(stable=True)]
        _, size, drops = self.plan(name, method)
        return DataLoader(
            Rows(self.dataset, ids, self.is_forget, method.sees_labels),
            batch_size=size,
            shuffle=method.order == "shuffled",
            drop_last=drops,
            collate_fn=as_is,
        )

    def steps(self, name: str, method: L.LightningModule) -> int:
        """Batches of a stream in a pass over it."""
        samples, size, drops = self.plan(name, method)
        return samples // size if drops else -(-samples // size)

    def plan(self, name: str, method: L.LightningModule) -> tuple[int, int, bool]:
        """Of each process: the samples of a stream, how many are in a batch, and whether a last lone one is left out.

        Raises ``UserError`` where every batch would be a lone sample, on which BatchNorm cannot train.
        """
        processes = self.trainer.world_size  # they share a batch, so that their number does not decide the result
        samples = -(-len(self.drawn(name, method)) // processes)  # the distributed sampler pads to equal shares
        size = max(1, min(method.batch_sizes[name] // processes, samples))
        if method.needs_full_batches and min(size, samples) == 1:
            raise UserError(
                f"the {name} stream comes in batches of one sample, on which BatchNorm cannot train: take a larger "
                "forget or retain set, a larger batch size, or +method.batch_norm=eval"
            )
        return samples, size, method.needs_full_batches and samples % size == 1

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
        """One pass over a stream outside the training loop, for masks and searches: in order, or shuffled by a
        generator; un-augmented, or ``augment``ed and without a tail of one, for training. The batch size is that of
        predictions, unless what is found depends on it.
        """
        rows = Rows(self.dataset, self.stream(name, retain_share), self.is_forget, labels)
        size = batch_size or self.eval_batch_size
        own = shuffle or torch.Generator()  # a loader draws a seed from it; a look must not change what training draws
        lone_tail = augment and len(rows) % size == 1 < len(rows)
        for batch in DataLoader(rows, size, shuffle is not None, drop_last=lone_tail, collate_fn=as_is, generator=own):
            yield self.prepare(move_data_to_device(batch, device), augment)

    def batches_for(
        self,
        method: L.LightningModule,
        name: str,
        addon: L.Callback | None = None,
        shuffle: torch.Generator | None = None,
        augment: bool = False,
        batch_size: int | None = None,
    ) -> Iterator[Batch]:
        """``batches`` of a stream that the method, or one of its add-ons, declares: the method's share of it, with
        labels only if who looks may see them.
        """
        who, declared = (addon, addon.looks) if addon else (method, (*method.streams, *method.looks))
        if name not in declared:
            raise ValueError(f"{type(who).__name__} declares the streams {declared} and asks for {name!r}")
        own = method.device, who.sees_labels, method.retain_share
        found = self.batches(name, *own, shuffle, augment, batch_size)
        return (batch._replace(images=batch.images.to(method.dtype)) for batch in found)  # as the trainer would

    def predict_dataloader(self) -> DataLoader:
        """Every sample of ``predicted`` once, in order, as it is."""
        rows = Rows(self.dataset, self.predicted, self.is_forget)
        return DataLoader(rows, batch_size=self.eval_batch_size, collate_fn=as_is)

    def on_after_batch_transfer(self, batch: Any, _: int) -> Any:
        if isinstance(batch, dict):
            augment = self.trainer.lightning_module.augment
            parts = {name: part for name, part in batch.items() if name != "step"}
            return {name: None if part is None else self.prepare(part, augment) for name, part in parts.items()}
        return self.prepare(batch, augment=False) if isinstance(batch, Batch) else batch

    def prepare(self, batch: Batch, augment: bool) -> Batch:
        images = self.transform(batch.images, augment, batch.ids)
        method = self.trainer and self.trainer.lightning_module
        return batch._replace(images=images.to(method.dtype) if method else images)  # precision=64-true and the like
