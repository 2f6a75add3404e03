"""A user's own torch data sets and loaders as arrays in memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from ..errors import UserError
from ..types import Split
from .datasets import Dataset

BATCH = 256  # samples read at a time

Samples = TorchDataset[Any] | DataLoader[Any] | tuple[Tensor, Tensor]


def read_samples(samples: Samples, where: str) -> tuple[Tensor, Tensor]:
    """((N, ...) floating-point inputs, (N,) int64 labels) of a data set or loader of (input, label), in one pass.

    All samples are held in memory, and random transforms are drawn once. Raises ``UserError`` for items of another
    form, inputs that are not floating-point tensors of one shape, labels that are not class numbers, and for no items.
    """
    if isinstance(samples, tuple) and all(isinstance(part, Tensor) for part in samples):
        batches = [as_pair(samples, where)]
    else:
        loader = samples if isinstance(samples, DataLoader) else DataLoader(as_dataset(samples, where), BATCH)
        try:
            batches = [as_pair(batch, where) for batch in loader]
        except (TypeError, RuntimeError) as error:  # torch cannot make a batch of the items
            raise UserError(f"{where} cannot be read in batches: {error}", key=where) from None
    if not sum(len(labels) for _, labels in batches):
        raise UserError(f"{where} is empty: it must hold at least one sample", key=where)
    if len({inputs.shape[1:] for inputs, _ in batches}) > 1:
        raise UserError(f"{where} holds inputs of different shapes: resize them to one", key=where)
    inputs, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    if not inputs.is_floating_point():
        raise UserError(
            f"{where} holds inputs of type {inputs.dtype}: give them as the network takes them, as floating-point "
            "tensors",
            key=where,
        )
    if labels.is_complex() or (labels.is_floating_point() and not torch.equal(labels, labels.round())):
        raise UserError(f"{where} holds labels that are not class numbers, such as {labels[0]}", key=where)
    return inputs, labels.long()


def as_dataset(samples: Any, where: str) -> TorchDataset[Any]:
    """A user's data set, if it is one for torch."""
    if isinstance(samples, TorchDataset) or (hasattr(samples, "__getitem__") and not isinstance(samples, tuple)):
        return samples
    raise UserError(
        f"{where} must be a torch data set or loader, or a tuple of two tensors, and is a {type(samples).__name__}",
        key=where,
    )


def as_pair(batch: Any, where: str) -> tuple[Tensor, Tensor]:
    """A batch as (inputs, labels), on the CPU."""
    if not (isinstance(batch, list | tuple) and len(batch) == 2 and all(isinstance(part, Tensor) for part in batch)):
        raise UserError(f"{where} must yield pairs of an input and a label, both tensors", key=where)
    inputs, labels = (part.detach().cpu() for part in batch)
    if labels.ndim != 1 or len(inputs) != len(labels):
        raise UserError(
            f"{where} must have one label, a class number, for each input; inputs are {tuple(inputs.shape)}, labels "
            f"{tuple(labels.shape)}",
            key=where,
        )
    return inputs, labels


def own_data(sets: dict[str, tuple[Tensor, Tensor]], num_classes: int) -> tuple[Dataset, Split]:
    """One data set of the sets ``forget``, ``retain`` and, where they are given, ``validation`` and ``test``.

    Classes of which the retain set has no sample are forgotten whole.
    """
    names = ("forget", "retain", "validation", "test")
    sizes = [len(sets[name][1]) if name in sets else 0 for name in names]
    ids = dict(zip(names, torch.arange(sum(sizes)).split(sizes), strict=True))
    given = [sets[name] for name in names if name in sets]
    inputs, labels = (torch.cat(parts) for parts in zip(*given, strict=True))
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise UserError(
            f"labels go from {int(labels.min())} to {int(labels.max())}, and the model has {num_classes} outputs",
            key="labels",
        )
    train = torch.cat([ids["forget"], ids["retain"]])
    statistics = ((0.0,) * inputs.shape[1], (1.0,) * inputs.shape[1])
    classes = tuple(map(str, range(num_classes)))
    dataset = Dataset("own", inputs, labels, classes, train, ids["validation"], ids["test"], *statistics)
    forgotten = labels[ids["forget"]].unique()
    whole = tuple(forgotten.tolist()) if not torch.isin(forgotten, labels[ids["retain"]]).any() else ()
    alike = torch.isin(labels, torch.tensor(whole, dtype=torch.int64))[ids["test"]]
    split = Split(
        train=train,
        forget=ids["forget"],
        retain=ids["retain"],
        validation=ids["validation"],
        test=ids["test"],
        test_forget=ids["test"][alike],
        test_retain=ids["test"][~alike],
        forget_classes=whole,
        named_classes=whole,
    )
    return dataset, split
