"""Rules by which settings and epochs are chosen: each says what a model's numbers should be, without a test sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import UserError, nearest
from ..types import Split
from .accuracy import Accuracy
from .base import Evidence, given
from .directions import VALIDATED
from .membership import ValidationMembership, unseen_alike

Expected = dict[str, float]  # a number that each metric should have
KNOWN = "corrective/acc_known"


@dataclass(frozen=True)
class Rule:
    """What is expected of a model; the nearer its numbers are, by ``metrics.base.mean_gap``, the better it is.

    Args:
        forgetting, retention: the metrics that tell how well it forgets, and how well it keeps the rest.
        expected: what they should be, from the evidence about the reference models.
        oracle: whether it needs the retrained model.
    """

    forgetting: tuple[str, ...]
    retention: tuple[str, ...]
    expected: Callable[[Evidence], Expected]
    oracle: bool = False


def without_test(evidence: Evidence) -> Evidence:
    """The same evidence without any test sample."""
    split, none = evidence.split, evidence.split.test[:0]
    return replace(evidence, split=replace(split, test=none, test_forget=none, test_retain=none))


def measured(evidence: Evidence) -> dict[str, float]:
    """The numbers of a model that the rules look at: accuracies, and the attack on the loss.

    Raises ``UserError`` where there are too few samples for them.
    """
    seen = without_test(evidence)
    try:
        found = Accuracy()(seen) | ValidationMembership()(seen)
    except ValueError as error:
        raise UserError(
            f"there are too few validation samples of the classes that are forgotten ({error}): raise split.validation",
            key="split.validation",
        ) from None
    if len(seen.split.manipulated):
        found[KNOWN] = share(seen.logits.argmax(-1) == given(seen.true_labels), seen.split.forget)
    return found


def as_retrained(evidence: Evidence) -> Expected:
    """The numbers of the retrained model: the distance to them is ``gap/mean_val``."""
    retrained = measured(evidence.of(given(evidence.retrained)))
    return {name: retrained[name] for name in VALIDATED}


def as_never_learned(evidence: Evidence) -> Expected:
    """The numbers that retraining can be expected to have, from the original model alone.

    A class that is forgotten whole is not recognised any more; other forgotten samples are recognised as often as
    validation samples of their classes are by the original. All others are as they were, and an attack guesses. Of a
    finer class, which a retrained model takes for other classes more often, too many are expected to be recognised.
    """
    split, original = evidence.split, given(evidence.original)
    right = original.argmax(-1) == evidence.labels
    gone = torch.isin(evidence.labels, torch.tensor(split.forget_classes, dtype=torch.int64))
    return {
        "forget/acc": 0.0 if split.forget_classes else share(right, unseen_alike(evidence)),
        "retain/acc": share(right, split.retain),
        "val/acc": share(right & ~gone, split.validation),
        "val/loss_auc": 0.5,
    }


def as_corrected(evidence: Evidence) -> Expected:
    """Every manipulated sample that is known has its correct label, and so has every validation sample."""
    return {KNOWN: 1.0, "val/acc": 1.0}


def share(condition: Tensor, ids: Tensor) -> float:
    """The fraction of the samples ``ids`` for which a condition (N,) holds."""
    return condition[ids].double().mean().item()


SIDES = ("forget/acc", "val/loss_auc"), ("retain/acc", "val/acc")
RULES: dict[str, Rule] = {
    "gap": Rule(*SIDES, as_retrained, oracle=True),
    "no_oracle": Rule(*SIDES, as_never_learned),
    "corrected": Rule((KNOWN,), ("val/acc",), as_corrected),
}


def rule_for(name: str, split: Split, retrained: bool, key: str) -> Rule:
    """The rule of that name. Raises ``UserError`` about the setting ``key`` where it cannot serve the data.

    ``retrained`` says whether there is a retrained model.
    """
    if name not in RULES:
        raise UserError(f"{key}={name}: there is no such rule: {nearest(name, RULES)}", key=key, kind="choice")
    rule = RULES[name]
    if not len(split.validation):
        raise UserError(
            f"{key}={name} looks at validation samples, and there are none: set split.validation=0.1, put images that "
            "the model has not seen in DIR/validation/<class>/, or name the split that it was trained on by "
            "scenario=saved",
            key="split.validation",
            kind="missing",
        )
    if rule.oracle and not retrained:
        raise UserError(
            f"{key}={name} compares with the retrained model, and retrained=false: choose no_oracle, which needs none",
            key=key,
            kind="conflict",
        )
    manipulated, unknown = len(split.manipulated), len(split.manipulated) - len(split.forget)
    if (name == "corrected") != bool(manipulated) and not (name == "gap" and not unknown):
        raise UserError(
            f"{key}={name}: "
            + ("the samples are manipulated, so a retrained model is not the aim: " if manipulated else "no sample is ")
            + ("choose corrected" if manipulated else "manipulated: choose gap or no_oracle"),
            key=key,
            kind="conflict",
        )
    return rule
