"""What a metric is: a function of saved predictions that declares how to read its numbers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np
import torch
from torch import Tensor, nn

from ..data.trigger import Attack
from ..types import Split
from .directions import AVERAGE_GAPS, Direction


@dataclass(frozen=True)
class Evidence:
    """One model's predictions beside those of the reference models.

    Rows of ``logits`` are sample ids, so ``logits[split.forget]`` are the (N_f, C) logits of the forget set.
    """

    logits: Tensor  # (N, C) float32
    labels: Tensor  # (N,) int64
    split: Split
    classes: tuple[str, ...]
    original: Tensor | None = None  # logits of the original model
    retrained: Tensor | None = None  # logits of the retrained model; None under retrained=false
    untrained: Tensor | None = None  # logits of a network with random weights, if a metric needs them
    images: Callable[[Tensor], Tensor] | None = None  # ids to network inputs, un-augmented, and
    model: nn.Module | None = None  # the model itself: for the few metrics that look at more than predictions
    true_labels: Tensor | None = None  # (N,) int64, where ``labels`` of manipulated training samples are wrong
    attack: Attack | None = None  # the trigger that the training data were poisoned with
    triggered: Tensor | None = None  # (N_test, C) logits of the test images with that trigger, in the split's order

    def of(self, logits: Tensor, model: nn.Module | None = None, triggered: Tensor | None = None) -> "Evidence":
        """The same task with another model's predictions in front."""
        return replace(self, logits=logits, model=model, triggered=triggered)


class Metric:
    """A family of numbers for one model. ``directions`` maps each name it returns (or a glob) to how it is read."""

    directions: Mapping[str, Direction]
    needs_retrained: bool = False
    needs_untrained: bool = False
    needs_attack: bool = False
    needs_manipulated: bool = False

    def applies_to(self, evidence: Evidence) -> bool:
        """Whether there is what it needs: a retrained model, a trigger, manipulated samples."""
        there = {
            "retrained": evidence.retrained is not None,
            "attack": evidence.attack is not None,
            "manipulated": len(evidence.split.manipulated) > 0,
        }
        return all(there[what] for what in there if getattr(self, f"needs_{what}"))

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        raise NotImplementedError


def evaluate(metrics: Mapping[str, Metric], evidence: Evidence) -> tuple[dict[str, float], dict[str, str]]:
    """All values, and for each metric that failed its error; a failed metric is never imputed.

    Metrics that do not apply are left out. All fail where a sample's logits are not finite: the largest of NaNs is
    class 0, and a collapsed model would be given an accuracy.
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
        except Exception as error:  # shown to the user as failed, whatever it is
            failed[name] = f"{type(error).__name__}: {error}"
    return values, failed


def directions_of(metrics: Mapping[str, Metric], names: list[str]) -> dict[str, Direction]:
    """The declared direction of every metric name."""
    patterns = [item for metric in metrics.values() for item in metric.directions.items()]
    return {n: next(d for p, d in patterns if fnmatchcase(n, p)) for n in names}


def gaps(
    metrics: Mapping[str, Metric], values: Mapping[str, float], retrained: Mapping[str, float]
) -> dict[str, float]:
    """``gap/<metric> = value - retrained`` for every metric that is no distance to the retrained model itself.

    ``gap/mean`` is the field's average gap: the mean absolute gap over forget, retain and test accuracy and the
    loss-based attack's AUC, as far as the evaluation has them; there is none if one of these failed. ``gap/mean_svc``
    has the SVC attack on the entropy in its place, and is there where the evaluation has that attack.
    """
    patterns = [pattern for metric in metrics.values() if not metric.needs_retrained for pattern in metric.directions]
    own = [name for name in values if name in retrained and any(fnmatchcase(name, p) for p in patterns)]
    signed = {name: values[name] - retrained[name] for name in own}
    found = {f"gap/{name}": value for name, value in signed.items()}
    for average, over in AVERAGE_GAPS.items():
        wanted = [name for name in over if any(fnmatchcase(name, p) for p in patterns)]
        asked = over[-1] in wanted if average == "gap/mean_svc" else wanted
        if asked and all(name in signed for name in wanted):
            found[average] = float(np.mean([abs(signed[name]) for name in wanted]))
    return found
