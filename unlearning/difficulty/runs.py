"""The models of finished runs as arrays: what they say about each sample, and what each of them learned."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..data.transform import Transform
from ..engine.job import Job
from ..errors import UserError
from ..populations.ulira import margins, memorisation
from ..records.names import PREDICTIONS, REFERENCES, SPLIT
from ..report.runs import Run, group_of
from ..scenarios.base import Problem
from ..scenarios.difficulty import ScoreFile
from ..verify.files import tensors
from .scores import Array, centre_distance, el2n, loss, mean_known
from .worst_case import WorstCase

SHARED = ("dataset", "model", "pretrain")  # groups in which the runs must agree
TOLERANCE = 1e-3  # of logits, between a run's original and the one that the store has


@dataclass(frozen=True)
class Model:
    """One model of a run.

    Args:
        kind: ``original`` or ``retrained``.
        run: of which it is.
        margins: (N,) logit-scaled confidences.
        el2n: (N,).
        learned: (N,) bool, the samples that it was trained on.
        logits: the digest of its (N, C) logits.
    """

    kind: str
    run: Run
    margins: Array
    el2n: Array
    learned: Array
    logits: str


@dataclass(frozen=True)
class Models:
    """The distinct models of some runs of one data set.

    Args:
        models: those with different predictions or training samples.
        labels: (N,).
        sets: the validation and test samples, and those that the model of one run ``learned``.
        data: the digest of that run's data.
    """

    models: Sequence[Model]
    labels: Array
    sets: Mapping[str, Array]
    data: str

    @classmethod
    def of(cls, root: Path, runs: Sequence[Run]) -> Models:
        """The models of runs below ``root``. Raises ``UserError`` where they do not belong together."""
        found: dict[tuple[str, bytes], Model] = {}
        first: tuple[Array, Mapping[str, Array], str, dict[str, Any]] | None = None
        for run in runs:
            own, _ = tensors(root / run.name / PREDICTIONS)
            sets, facts = tensors(root / run.name / SPLIT)
            if len(sets["manipulated"]):
                raise UserError(f"{run.name} learned manipulated samples, which no other scenario has: leave it out")
            parts = {"validation": sets["validation"], "test": sets["test"], "learned": sets["train"]}
            options = {key: value for key, value in run.decisive.items() if group_of(key) in SHARED}
            first = first or (own["labels"], parts, facts["data"], options)
            held = all(np.array_equal(parts[name], first[1][name]) for name in ("validation", "test"))
            if not (held and np.array_equal(own["labels"], first[0]) and options == first[3]):
                raise UserError(
                    f"{run.name} and {runs[0].name} differ in data, split, model or recipe: name runs that have these "
                    "in common, such as with --filter dataset=digits split.seed=0"
                )
            for model in models(root / run.name, run, own["labels"], sets):
                found.setdefault((model.logits, model.learned.tobytes()), model)
        assert first is not None
        return cls(list(found.values()), *first[:3])

    @property
    def train(self) -> Array:
        """(T,) sorted ids of all samples that any model learned."""
        return np.flatnonzero(np.any([model.learned for model in self.models], 0))

    def scores(self) -> dict[str, Array]:
        """(N,) by name: means over the original models that learned a sample, and memorisation by all models.

        There is no memorisation where all models learned the same samples.
        """
        originals = [model for model in self.models if model.kind == "original"]
        known = np.stack([model.learned for model in originals])
        found = {
            "loss": mean_known(loss(np.stack([model.margins for model in originals])), known),
            "el2n": mean_known(np.stack([model.el2n for model in originals]), known),
        }
        learned = np.stack([model.learned for model in self.models])
        memorised = memorisation(np.stack([model.margins for model in self.models]), learned)
        memorised[~learned.any(0)] = np.nan
        return found | ({"memorisation": memorised} if np.isfinite(memorised).any() else {})

    def features(self) -> Iterator[tuple[Array, Array]]:
        """Of each original model, the ids of the samples that it learned and their features before the head."""
        for model in self.models:
            if model.kind == "original":
                yield np.flatnonzero(model.learned), features(model)

    def distances(self) -> Array:
        """(N,) the mean over the original models of the distance from the centre of what they learned."""
        rows = []
        for ids, values in self.features():
            row = np.full(len(self.labels), np.nan)
            row[ids] = centre_distance(values)
            rows.append(row)
        return mean_known(np.stack(rows), np.isfinite(rows))

    def worst_case(self, search: WorstCase) -> tuple[Array, dict[str, float]]:
        """(N,) the score of ``WorstCase`` by the first original model, and what unlearning leaves of the worst set.

        The latter is the mean loss on the set with the highest scores, and on one as large that is drawn at random,
        each after it was unlearned as in the search.
        """
        _, problem, network = made_again(next(model for model in self.models if model.kind == "original"))
        train = problem.split.train
        data = Transform(problem.data)(problem.data.inputs[train], ids=train), problem.data.labels[train]
        classes = len(problem.data.classes)
        found = search.scores(network, *data, classes)
        count, drawn = max(1, round(search.fraction * len(train))), torch.Generator().manual_seed(search.seed)
        left = {}
        for name, order in (
            ("worst", found.argsort(descending=True)),
            ("random", torch.randperm(len(train), generator=drawn)),
        ):
            chosen = torch.zeros(len(train), dtype=torch.bool)
            chosen[order[:count]] = True
            left[name] = search.left(network, *data, classes, chosen)
        row = np.full(len(self.labels), np.nan)
        row[train.numpy()] = found.numpy()
        return row, left

    def file(self, scores: Mapping[str, Array]) -> ScoreFile:
        """The scores with the data that they are of."""
        sets = {name: torch.from_numpy(ids.astype(np.int64)) for name, ids in self.sets.items()}
        sets["train"] = torch.from_numpy(self.train)
        return ScoreFile({name: torch.from_numpy(values) for name, values in scores.items()}, sets, self.data)


def models(folder: Path, run: Run, labels: Array, sets: Mapping[str, Array]) -> Iterator[Model]:
    """The original and the retrained model of a run, as far as its folder has them."""
    for path in folder.glob(f"{REFERENCES}*"):
        logits, _ = tensors(path)
        for kind, ids in {"original": "train", "retrained": "retain"}.items():
            if (values := logits.get(f"{kind} logits")) is not None:
                learned = np.zeros(len(labels), dtype=bool)
                learned[sets[ids]] = True
                digest = hashlib.sha256(values.tobytes()).hexdigest()
                yield Model(kind, run, margins(values, labels), el2n(values, labels), learned, digest)


def features(model: Model) -> Array:
    """(T, D) the features of an original model for the samples that it learned, by one pass over the data."""
    job, problem, network = made_again(model)
    _, found = job.lab.predict_with_features(problem, network, problem.split.train)
    values: Array = found.values.double().numpy()
    return values


def made_again(model: Model) -> tuple[Job, Problem, nn.Module]:
    """The job of an original model, its problem, and its network.

    The store has the model; it is trained again where it has not. Raises ``UserError`` where that gives another one.
    """
    job = Job.of(model.run.result["config"])
    problem, lab = job.problem, job.lab
    if lab.architecture.checkpoint:
        trained = lab.own_model(problem)
    else:
        trained = lab.train(problem, job.recipe, problem.split.train, job.pretrain_seed, "original")
    logits, _ = lab.predict_with_features(problem, trained.network, problem.split.train)
    if not np.allclose(margins(logits.numpy(), problem.data.labels.numpy()), model.margins, atol=TOLERANCE):
        raise UserError(f"the original model of {model.run.name} cannot be made again as it was: make the run again")
    return job, problem, trained.network
