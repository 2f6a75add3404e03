"""The index sets of one run, saved so that later runs can use them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from ..data.datasets import Dataset
from ..errors import UserError
from ..records.names import EARLIER
from ..types import Split
from .base import Problem, Scenario

CLASSES = ("forget_classes", "named_classes")  # the fields of a split that are not index sets
SETS = {field.name for field in fields(Split)} - {*CLASSES}
PARTS = {"train": ("forget", "retain"), "test": ("test_forget", "test_retain")}  # of which sets each one is made up


def split_file(split: Split, dataset: Dataset) -> bytes:
    """The content of a safetensors file that holds a split, and the facts that ``SavedSplit`` checks."""
    facts = {"data": dataset.digest, "split": split.digest}
    facts |= {name: json.dumps(getattr(split, name)) for name in CLASSES}
    return save({name: ids.clone() for name, ids in split.sets.items()}, metadata=facts)  # sets may share memory


class SavedSplit(Scenario):
    """Forget the samples that an earlier run forgot: use all index sets from its ``split.safetensors``.

    The seeds have no effect.

    The training, validation and test samples come from the file too, so the original and the retrained model are those
    of that run as long as ``pretrain`` is the same. Inputs and labels must be the same, which a digest in the file
    shows. A split of data that a scenario changed (wrong labels, triggers, super-classes) is therefore refused, as is
    that of a trial, and a file that is not as a run wrote it.

    Args:
        seed: not used, because nothing is drawn; every scenario has one.
        file: ``split.safetensors`` in the folder of a run.
    """

    def __init__(self, seed: int, file: str) -> None:
        self.seed, self.file = seed, file

    def prepare(self, raw: Dataset) -> Problem:
        try:
            split, digest = read_split(Path(self.file).expanduser())
            same = replace(raw, train=split.train, validation=split.validation, test=split.test)
            if same.digest != digest and Path(self.file).expanduser().with_name(EARLIER).is_file():
                raise UserError(
                    f"scenario.file={self.file} is of a run that followed others by after=, so it holds only what they "
                    "left: give that run's list again, by scenario=list and its after=",
                    key="scenario.file",
                    kind="conflict",
                )
            if same.digest != digest:
                raise UserError(
                    f"scenario.file={self.file} is a split of other data than {raw.name} as it is configured here: use "
                    "dataset= and its options from the run that saved it; a scenario that changes data is not redone",
                    key="scenario.file",
                    kind="conflict",
                )
            check_sets(split, len(raw.labels))
            check_classes(split, same)
        except MalformedError as why:
            raise UserError(
                f"scenario.file={self.file} is not a saved split: {why}; name the split.safetensors of a finished run",
                key="scenario.file",
                kind="file",
            ) from None
        return Problem.of(same, split)


class MalformedError(Exception):
    """A file that is not a saved split, and why."""


def read_split(path: Path) -> tuple[Split, str]:
    """The split in a file, and the digest of its data. Raises ``MalformedError`` where the file is not as written."""
    if path.exists() and not path.is_file():  # reading a pipe would wait for ever
        raise MalformedError("it is not a file")
    try:
        with safe_open(path, "pt") as file:
            sets: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            facts: Mapping[str, str] = file.metadata() or {}
    except Exception as error:  # the reader raises anything on a file that is not one
        raise MalformedError(f"it cannot be read ({' '.join(str(error).split())})") from None
    if sets.keys() != SETS:
        raise MalformedError(f"its sets are not {', '.join(sorted(SETS))}")
    for name, ids in sets.items():
        if ids.dtype != torch.int64 or ids.ndim != 1:
            raise MalformedError(f"{name} is {ids.dtype} of shape {tuple(ids.shape)} rather than a list of int64")
    for name in ("data", "split", *CLASSES):
        if name not in facts:
            raise MalformedError(f"its metadata lack {name!r}")
    classes: Any = {name: numbers(name, facts[name]) for name in CLASSES}
    split = Split(**sets, **classes)
    if split.digest != facts["split"]:
        raise MalformedError("its sets or classes are not those that its digest is of")
    return split, facts["data"]


def numbers(name: str, text: str) -> tuple[int, ...]:
    """The class numbers that a text lists."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(type(number) is int for number in found):
        raise MalformedError(f"{name} is not a list of class numbers")
    return tuple(found)


def check_sets(split: Split, samples: int) -> None:
    """Raise ``MalformedError`` unless the sets are of ``samples`` samples and fit together."""
    for name, ids in split.sets.items():
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < samples:
            raise MalformedError(f"{name} holds ids that are not among the {samples} samples")
        if not (ids.diff() > 0).all():
            raise MalformedError(f"{name} is not sorted, or holds a sample twice")
    sets = split.sets
    for name, parts in {**PARTS, "samples": ("train", "validation", "test")}.items():
        joined = torch.cat([sets[part] for part in parts]).sort().values
        if not (joined.diff() > 0).all():
            raise MalformedError(f"{' and '.join(parts)} have samples in common")
        if name in sets and not torch.equal(joined, sets[name]):
            raise MalformedError(f"{' and '.join(parts)} do not make up {name}")
    for name in ("forget", "retain"):
        if not len(sets[name]):
            raise MalformedError(f"{name} is empty")
    if len(split.manipulated) and not (
        torch.isin(split.forget, split.manipulated).all() and torch.isin(split.manipulated, split.train).all()
    ):
        raise MalformedError("manipulated is not a part of train with forget in it")


def check_classes(split: Split, data: Dataset) -> None:
    """Raise ``MalformedError`` unless the classes and the parts of the test set are those of some request.

    That is one by class, one for samples of any class (at random, or by their metadata), or one by fine class, of which
    the split names the super-class alone.
    """
    named, labels = split.named_classes, data.labels
    if not all(0 <= number < len(data.classes) for number in named) or list(named) != sorted({*named}):
        raise MalformedError("named_classes are not classes of the data, each once and in order")
    alike = torch.isin(labels, torch.tensor(named, dtype=torch.int64))
    whole = torch.equal(split.forget, split.train[alike[split.train]])
    by_class = (
        split.forget_classes == (named if whole else ())
        and bool(alike[split.forget].all())
        and torch.equal(split.test_forget, split.test[alike[split.test]])
    )
    by_sample = not named and not split.forget_classes  # at random, or by facts that part the test samples as they may
    fine = data.fine_labels
    if not (by_class or by_sample or (fine is not None and by_fine_class(split, labels, fine))):
        raise MalformedError("the classes that it names do not fit its forget set and its test samples")


def by_fine_class(split: Split, labels: Tensor, fine: Tensor) -> bool:
    """Whether a split can be of a request by fine class, by which it then parts the test samples, too."""
    named = labels[split.forget].unique().tolist()
    like_forget = torch.cat([fine[split.forget], fine[split.test_forget]])
    parted = not torch.isin(fine[split.test_retain], like_forget).any()
    return not split.forget_classes and list(split.named_classes) == named and parted
