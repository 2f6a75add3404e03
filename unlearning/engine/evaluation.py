"""Turn predictions into the rows of a table: metrics of every model, and the gaps to the retrained one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from ..data.datasets import Dataset
from ..data.transform import Transform
from ..metrics.base import Evidence, Metric, directions_of, gaps
from ..metrics.base import evaluate as evaluate_metrics
from ..metrics.features import Features
from ..models.naming import Naming
from ..scenarios.base import Problem

log = logging.getLogger("unlearning")

Curves = dict[str, list[tuple[int, float]]]


@dataclass(frozen=True)
class Model:
    """A model of the table."""

    network: nn.Module
    logits: Tensor  # (N, C) by sample id
    cost: Mapping[str, float]  # what making it cost; empty where that is not known
    triggered: Tensor | None = None  # as in ``Evidence``
    features: Features | None = None  # of the samples that metrics look at, if a metric needs them


@dataclass(frozen=True)
class Result:
    """The result of a run."""

    rows: dict[str, dict[str, float]]  # metrics by model
    gaps: dict[str, float]  # of the unlearned to the retrained model
    cost: Mapping[str, float]  # of the unlearning
    access: Mapping[str, str]  # what the method and its add-ons may see, by stream
    directions: Mapping[str, str]  # how each metric is read
    failed: Mapping[str, str]  # why a metric has no value, by model and metric
    unstated: Mapping[str, tuple[int, int]]  # by name, where unseen samples are too few: their number, and the least
    sizes: Mapping[str, int]  # samples in each index set
    requested: int | None  # as in ``Job``
    data: Mapping[str, str]  # digests of data and split
    weights: str  # digest of the unlearned weights
    original_weights: str  # digest of the original's
    unchanged: bool  # the two digests are equal
    same_parameters: bool  # whether or not statistics of BatchNorm moved
    curves: Curves  # of the unlearning
    evidence: Mapping[str, Evidence]  # by model: for figures and files
    dataset: Dataset
    naming: Naming = field(default_factory=Naming)  # of the weights in files
    selected: Mapping[str, int] = field(default_factory=dict)  # as in ``Problem``
    after: Mapping[str, Any] | None = None  # facts about the run that the request follows, if there is one


def evaluate(
    problem: Problem,
    metrics: Mapping[str, Metric],
    models: Mapping[str, Model],
    untrained: Tensor | None = None,
    earlier: Tensor | None = None,
) -> dict[str, Any]:
    """The fields of a result that follow from predictions: ``rows``, ``gaps``, ``directions``, ``failed`` and others.

    Args:
        models: by name: ``unlearned``; ``original``, ``retrained`` and ``clean`` where there are such.
        untrained: (N, C) logits of a network with random weights, if a metric needs them; of the forget set alone.
        earlier: ids of the samples that earlier requests had forgotten, if there were any.
    """
    transform, logits = Transform(problem.data), {name: model.logits for name, model in models.items()}
    features = {name: model.features for name, model in models.items()}
    common = Evidence(
        logits=models["unlearned"].logits,
        labels=problem.data.labels,
        split=problem.split,
        classes=problem.data.classes,
        original=logits.get("original"),
        retrained=logits.get("retrained"),
        untrained=untrained,
        images=lambda ids: transform(problem.data.inputs[ids], ids=ids),
        true_labels=problem.data.true_labels,
        attack=problem.attack,
        earlier=earlier,
        original_features=features.get("original"),
        retrained_features=features.get("retrained"),
    )
    evidence = {n: common.of(m.logits, m.network, m.triggered, m.features) for n, m in models.items()}
    rows: dict[str, dict[str, float]] = {}
    failed: dict[str, str] = {}
    for name, one in evidence.items():
        rows[name], errors = evaluate_metrics(metrics, one)
        failed |= {f"{name}: {metric}": why for metric, why in errors.items()}
    if (retrained := rows.get("retrained")) is not None:
        before = dict(retrained)
        for row in rows.values():
            for metric in metrics.values():
                row |= metric.relative(row, before)
    directions = directions_of(metrics, sorted({metric for row in rows.values() for metric in row}))
    found = gaps(metrics, rows["unlearned"], rows["retrained"]) if "retrained" in rows else {}
    for name, model in models.items():
        rows[name] |= {f"cost/{what}": model.cost[f"cost/{what}"] for what in ("seconds", "passes") if model.cost}
    if problem.selected:
        log.info("selected: %s", ", ".join(f"{name} {count}" for name, count in problem.selected.items()))
    log.info("evaluated: %s", ", ".join(models))
    asked = [metric for metric in metrics.values() if metric.applies_to(common)]
    unstated = {name: why for metric in asked for name, why in metric.unstated(common).items()}
    about = {"directions": directions, "failed": failed, "unstated": unstated, "evidence": evidence}
    return {"rows": rows, "gaps": found, "selected": problem.selected, **about}
