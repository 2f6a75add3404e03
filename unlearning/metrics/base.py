"""The contract of a metric: a function of saved predictions that declares how to read its numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ..data.trigger import Attack
from ..types import Split
from .directions import AVERAGE_GAPS, Direction
from .features import Features

T = TypeVar("T")
Need = Literal[
    "retrained",  # the retrained model's logits
    "untrained",  # the logits of a network with random weights
    "attack",  # a trigger that the training data were poisoned with
    "manipulated",  # manipulated training samples
    "class",  # classes that are forgotten whole
    "features",  # penultimate features of the models, predicted with the logits
    "layers",  # outputs of their blocks, too
    "validation",  # validation samples
    "earlier",  # samples that earlier requests had forgotten
]


@dataclass(frozen=True)
class Evidence:
    """One model's predictions beside those of the reference models.

    Rows of ``logits`` are sample ids, so ``logits[split.forget]`` are the (N_f, C) logits of the forget set.

    Args:
        logits: (N, C) float32.
        labels: (N,) int64.
        split: the index sets.
        classes: the names of the classes.
        original: logits of the original model.
        retrained: logits of the retrained model; None under ``retrained=false``.
        untrained: logits of a network with random weights on the forget set, NaN elsewhere, if a metric needs them.
        images: maps ids to network inputs, un-augmented.
        model: the model itself, for metrics that look at more than predictions.
        true_labels: (N,) int64, the correct labels, where ``labels`` of manipulated training samples are wrong.
        attack: the trigger that the training data were poisoned with.
        triggered: (N_test, C) logits of the test images with that trigger, in the order of the split.
        features: what enters the head of the model, if a metric needs it.
        original_features, retrained_features: the same of these models.
        earlier: ids of the samples that earlier requests had forgotten; they are in no index set.
    """

    logits: Tensor
    labels: Tensor
    split: Split
    classes: tuple[str, ...]
    original: Tensor | None = None
    retrained: Tensor | None = None
    untrained: Tensor | None = None
    images: Callable[[Tensor], Tensor] | None = None
    model: nn.Module | None = None
    true_labels: Tensor | None = None
    attack: Attack | None = None
    triggered: Tensor | None = None
    features: Features | None = None
    original_features: Features | None = None
    retrained_features: Features | None = None
    earlier: Tensor | None = None

    def of(
        self,
        logits: Tensor,
        model: nn.Module | None = None,
        triggered: Tensor | None = None,
        features: Features | None = None,
    ) -> Evidence:
        """The same task with the predictions of another model."""
        return replace(self, logits=logits, model=model, triggered=triggered, features=features)


class Metric:
    """A family of numbers for one model.

    ``directions`` maps each name that the metric returns, or a glob of names, to the way it is read: ``up`` (higher is
    better), ``down`` (lower is better), or ``to-retrained`` (closer to the retrained model is better). A metric is left
    out where the evidence lacks something that it ``needs``.
    """

    directions: Mapping[str, Direction]
    needs: Sequence[Need] = ()

    def applies_to(self, evidence: Evidence) -> bool:
        """Whether the evidence has everything that the metric needs."""
        available: dict[Need, bool] = {
            "retrained": evidence.retrained is not None,
            "untrained": evidence.untrained is not None,
            "attack": evidence.attack is not None,
            "manipulated": len(evidence.split.manipulated) > 0,
            "class": len(evidence.split.forget_classes) > 0,
            "features": evidence.features is not None,
            "layers": evidence.features is not None and len(evidence.features.layers) > 0,
            "validation": len(evidence.split.validation) > 0,
            "earlier": evidence.earlier is not None,
        }
        return all(available[need] for need in self.needs)

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        """The values by name. Raise where a value cannot be computed; never impute one."""
        raise NotImplementedError

    def unstated(self, evidence: Evidence) -> dict[str, tuple[int, int]]:
        """The numbers that there are too few unseen samples for, with how many there are and are needed."""
        return {}

    def relative(self, row: Mapping[str, float], retrained: Mapping[str, float]) -> dict[str, float]:
        """Values that follow from all those of a model and of the retrained one, as far as there are any."""
        return {}


def given(evidence: T | None) -> T:
    """A piece of evidence that the metric needs. Raises ``ValueError`` where it is missing."""
    if evidence is None:
        raise ValueError("the evidence lacks what this metric needs")
    return evidence


def evaluate(metrics: Mapping[str, Metric], evidence: Evidence) -> tuple[dict[str, float], dict[str, str]]:
    """All values, and the error of each metric that failed; a failed metric is never imputed.

    Metrics that do not apply are left out. All fail where the logits of a sample are not finite: the argmax of NaNs is
    class 0, which would give a collapsed model an accuracy.
    """
    values: dict[str, float] = {}
    failed: dict[str, str] = {}
    used = torch.cat(list(evidence.split.sets.values())).unique()
    collapsed = int((~evidence.logits[used].isfinite().all(-1)).sum())
    for name, metric in metrics.items():
        if not metric.applies_to(evidence):
            continue
        try:
            if collapsed:
                raise ValueError(f"the logits of {collapsed} of {len(used)} samples are not finite")
            found = metric(evidence)
            if undeclared := [key for key in found if not any(fnmatchcase(key, p) for p in metric.directions)]:
                raise ValueError(f"no direction declared for {', '.join(undeclared)}")
            if bad := [key for key, value in found.items() if not np.isfinite(value)]:
                raise ValueError(f"not finite: {', '.join(bad)}")
            values |= found
        except Exception as error:  # whatever it is, the user is shown that this metric failed
            failed[name] = f"{type(error).__name__}: {error}"
    return values, failed


def directions_of(metrics: Mapping[str, Metric], names: list[str]) -> dict[str, Direction]:
    """The declared direction of every metric name."""
    patterns = [item for metric in metrics.values() for item in metric.directions.items()]
    return {n: next(d for p, d in patterns if fnmatchcase(n, p)) for n in names}


def gaps(
    metrics: Mapping[str, Metric], values: Mapping[str, float], retrained: Mapping[str, float]
) -> dict[str, float]:
    """``gap/<metric> = value - retrained`` for every metric that is not itself a distance to the retrained model.

    ``gap/mean`` is the field's average gap (Fan et al., 2024, arXiv:2310.12508): the mean absolute gap over forget,
    retain and test accuracy and the loss-based attack's AUC, as far as the evaluation has them; it is missing if one of
    these failed. ``gap/mean_svc`` has the SVC attack on the entropy in place of the AUC, and exists where the
    evaluation has that attack. ``gap/mean_val`` has validation samples in place of the test samples: settings and
    epochs are chosen by it, so that nothing is chosen on test data.
    """
    patterns = [p for metric in metrics.values() if "retrained" not in metric.needs for p in metric.directions]
    own = [name for name in values if name in retrained and any(fnmatchcase(name, p) for p in patterns)]
    signed = {name: values[name] - retrained[name] for name in own}
    found = {f"gap/{name}": value for name, value in signed.items()}
    for average, over in AVERAGE_GAPS.items():
        wanted = [name for name in over if any(fnmatchcase(name, p) for p in patterns)]
        asked = bool(wanted) if average == "gap/mean" else over[-1] in wanted
        if asked and all(name in signed for name in wanted):
            found[average] = mean_gap(values, {name: retrained[name] for name in wanted})
    return found


def mean_gap(values: Mapping[str, float], expected: Mapping[str, float]) -> float:
    """The mean absolute difference between a model's numbers and those that are ``expected`` of it."""
    return float(np.mean([abs(values[name] - number) for name, number in expected.items()]))
