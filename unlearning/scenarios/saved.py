"""Index sets that one run saves and later ones take up."""

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

CLASSES = ("forget_classes", "named_classes")  # what a split holds besides index sets


def split_file(split: Split, dataset: Dataset) -> bytes:
    """A split as the content of a safetensors file, with what ``SavedSplit`` must know besides the index sets."""
    facts = {"data": dataset.digest} | {name: json.dumps(getattr(split, name)) for name in CLASSES}
    return save({name: ids.contiguous() for name, ids in split.sets.items()}, metadata=facts)


class SavedSplit(Scenario):
    """Forget what an earlier run forgot: take all index sets from its ``split.safetensors``, whatever the seeds here.

    Training, validation and test samples come from the file, too, so the original and retrained model are those of
    that run as long as ``pretrain`` is the same. The data must be the same, inputs and labels, as a digest in the file
    shows; so a split of data that a scenario manipulated (wrong labels, triggers, super-classes) is refused.

    Args:
        seed: every scenario has one; here nothing is drawn.
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
        same = replace(raw, **{name: sets[name] for name in ("train", "validation", "test")})
        if same.digest != facts["data"]:
            raise UserError(
                f"scenario.file={self.file} is a split of other data than {raw.name} as it is configured here: take "
                "dataset= and its options from the run that saved it; a scenario that changes data is not redone",
                key="scenario.file",
                kind="conflict",
            )
        return Problem.of(same, Split(**sets, **{name: tuple(json.loads(facts[name])) for name in CLASSES}))
