"""Finished runs that differ only in seeds, as arrays of margins by run and sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..records.names import PREDICTIONS, REFERENCES, SPLIT
from ..report.groups import group_runs, varied
from ..report.runs import Run
from ..verify.files import tensors
from .thresholds import Array
from .ulira import margins

KINDS = ("forget", "retain", "validation", "train")


@dataclass(frozen=True)
class Population:
    """The runs of one method in one setting; rows of the arrays are runs, columns are sample ids.

    Args:
        setting, method: as in the tables of ``unlearning.report``.
        over: the seeds in which the runs differ.
        parts: the names of the runs' folders.
        unlearned, retrained: (K, N) margins.
        original: likewise, or None where the user brought the original model.
        sets: (K, N) bool, which samples are in the forget, retain, validation and training set.
        accuracies: by model, then by metric, the mean over the runs.
    """

    setting: str
    method: str
    over: str
    parts: Sequence[str]
    unlearned: Array
    retrained: Array
    original: Array | None
    sets: Mapping[str, Array]
    accuracies: Mapping[str, Mapping[str, float]]

    @property
    def runs(self) -> int:
        """How many runs there are."""
        return len(self.parts)

    @property
    def same_request(self) -> bool:
        """Whether all runs forget the same samples of the same training set."""
        return all(bool((of == of[0]).all()) for of in self.sets.values())


def populations(root: Path, runs: Sequence[Run]) -> Iterator[Population]:
    """The populations of the finished runs below ``root``, in the order of the report's tables.

    Groups of one run, and runs without a retrained model, are left out.
    """
    for group in group_runs(runs)[0]:
        having = [run for run in group.runs if "retrained" in run.values]
        if group.row == "unlearned" and len(having) > 1:
            yield population(root, having, group.setting, group.label)


def population(root: Path, runs: Sequence[Run], setting: str, method: str) -> Population:
    """The population of some runs. Raises ``UserError`` where their files are missing, or are of different data."""
    found: dict[str, list[Array]] = {}
    for run in runs:
        for name, array in arrays(root / run.name).items():
            found.setdefault(name, []).append(array)
    if len({array.shape for arrays in found.values() for array in arrays}) > 1:
        raise UserError(f"{method} in {setting}: the runs are of data with different numbers of samples", kind="file")
    return Population(
        setting,
        method,
        varied(runs, "unlearned"),
        [run.name for run in runs],
        unlearned=np.stack(found["unlearned"]),
        retrained=np.stack(found["retrained"]),
        original=np.stack(found["original"]) if len(found.get("original", [])) == len(runs) else None,
        sets={name: np.stack(found[name]) for name in KINDS},
        accuracies={row: means(runs, row) for row in ("unlearned", "retrained")},
    )


def means(runs: Sequence[Run], row: str) -> dict[str, float]:
    """The mean over the runs of each metric that all of them have."""
    shared = set.intersection(*(set(run.values[row]) for run in runs))
    return {name: float(np.mean([run.values[row][name] for run in runs])) for name in sorted(shared)}


def arrays(folder: Path) -> dict[str, Array]:
    """The margins of a run's models, and its index sets as masks, each (N,)."""
    own, _ = tensors(folder / PREDICTIONS)
    references = sorted(folder.glob(f"{REFERENCES}*"))
    if not references:
        raise UserError(f"{folder} holds no predictions of the retrained model: make the run again", kind="file")
    logits = {"unlearned": own["logits"]}
    logits |= {name.removesuffix(" logits"): array for name, array in tensors(references[0])[0].items()}
    there = [name for name in ("unlearned", "retrained", "original") if name in logits]
    found: dict[str, Array] = {name: margins(logits[name], own["labels"]) for name in there}
    sets, _ = tensors(folder / SPLIT)
    for name in KINDS:
        found[name] = np.zeros(len(own["labels"]), dtype=bool)
        found[name][sets[name]] = True
    return found
