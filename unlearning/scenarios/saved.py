"""The index sets of one run, saved so that later runs can use them."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..data.datasets import Dataset
from ..errors import UserError
from ..types import Split
from .base import Problem, Scenario

CLASSES = ("forget_classes", "named_classes")  # the fields of a split that are not index sets


def split_file(split: Split, dataset: Dataset) -> bytes:
    """The content of a safetensors file that holds a split, and the facts that ``SavedSplit`` checks."""
    facts = {"data": dataset.digest} | {name: json.dumps(getattr(split, name)) for name in CLASSES}
    return save({name: ids.contiguous() for name, ids in split.sets.items()}, metadata=facts)


class SavedSplit(Scenario):
    """Forget the samples that an earlier run forgot: use all index sets from its ``split.safetensors``.

    The seeds have no effect.

    The training, validation and test samples come from the file too, so the original and the retrained model are those
    of that run as long as ``pretrain`` is the same. Inputs and labels must be the same, which a digest in the file
    shows. A split of data that a scenario changed (wrong labels, triggers, super-classes) is therefore refused.

    Args:
        seed: not used, because nothing is drawn; every scenario has one.
        file: ``split.safetensors`` in the folder of a run.
    """

    def __init__(self, seed: int, file: str) -> None:
        self.seed, self.file = seed, file

    @cached_property
    def content(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """The index sets by name, and the facts about them."""
        try:
            with safe_open(Path(self.file).expanduser(), "pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
        except (OSError, SafetensorError):
            raise UserError(
                f"scenario.file={self.file} cannot be read: name the split.safetensors of a finished run",
                key="scenario.file",
                kind="file",
            ) from None

    def prepare(self, raw: Dataset) -> Problem:
        sets, facts = self.content
        if "data" not in facts:
            raise UserError(
                f"scenario.file={self.file} does not hold a split with the digest of its data: name the "
                "split.safetensors of a finished run",
                key="scenario.file",
                kind="file",
            )
        same = replace(raw, train=sets["train"], validation=sets["validation"], test=sets["test"])
        if same.digest != facts["data"]:
            raise UserError(
                f"scenario.file={self.file} is a split of other data than {raw.name} as it is configured here: use "
                "dataset= and its options from the run that saved it; a scenario that changes data is not redone",
                key="scenario.file",
                kind="conflict",
            )
        forgotten, named = (tuple(json.loads(facts[name])) for name in CLASSES)
        return Problem.of(same, Split(**sets, forget_classes=forgotten, named_classes=named))
