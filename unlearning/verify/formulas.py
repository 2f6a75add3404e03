"""The metrics once more, from their definitions, with numpy and scipy.

Nothing here is shared with ``unlearning.metrics``: where both agree, a number is right or the same mistake was made
twice. Each formula maps the view of a model to numbers by name; NaN stands for what cannot be computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax

from .attacks import (
    class_membership,
    earlier,
    entropy_logistic,
    matched_loss,
    membership,
    svc_membership,
    three_class,
    validation_membership,
)
from .files import Array
from .fitted_attacks import fitted_attacks, membership_intervals
from .representations import feature_probes, original_cka, original_layer_cka, retrained_cka, retrained_layer_cka
from .view import Numbers, View, mean

# Accuracy


def accuracy(view: View) -> Numbers:
    """The accuracy on each index set that is not empty, and the error on the forget set."""
    sets = {"val": "validation"} | {name: name for name in ("forget", "retain", "test", "test_forget", "test_retain")}
    found = {f"{name}/acc": mean(view.of(ids, view.right)) for name, ids in sets.items() if len(view.files.sets[ids])}
    return found | ({"forget/ua": 1 - found["forget/acc"]} if "forget/acc" in found else {})


def relative_unlearning_accuracy(view: View) -> Numbers:
    """The accuracy on the forget set minus the retrained model's."""
    theirs = view.predicted_by("retrained") == view.files.labels
    return {"forget/rua": mean(view.of("forget", view.right)) - mean(view.of("forget", theirs))}


def class_accuracy(view: View, sets: Sequence[str] = ("test",)) -> Numbers:
    """The fraction of each class's samples that are right, of each set; that of test has no prefix."""
    found: Numbers = {}
    for name in sets:
        labels, right = view.of(name, view.files.labels), view.of(name, view.right)
        prefix = f"{name}/class_acc/".removeprefix("test/")
        found |= {f"{prefix}{view.files.classes[c]}": mean(right[labels == c]) for c in np.unique(labels)}
    return found


# Distances between predictions


def divergence(first: Array, second: Array) -> Array:
    """(N,) Jensen-Shannon divergence in nats; scipy's is its square root."""
    found: Array = jensenshannon(softmax(first, 1), softmax(second, 1), axis=1) ** 2
    return np.nan_to_num(found)  # the root of what rounding left below zero


def distance(view: View) -> Numbers:
    """Distances to the retrained model's predictions: of accuracies, Jensen-Shannon, Euclidean, and equal classes."""
    found, shifts = {}, []
    for name in ("retain", "forget"):
        theirs = view.predicted_by("retrained") == view.files.labels
        shifts.append(mean(view.of(name, view.right)) - mean(view.of(name, theirs)))
    if np.isfinite(shifts).all():
        found["distance/retrain"] = float(np.linalg.norm(shifts))
    for name in ("forget", "test"):
        ours, theirs = view.of(name, view.logits), view.of(name, view.files.logits["retrained"])
        if len(ours):
            found[f"distance/js_{name}"] = mean(divergence(ours, theirs))
            found[f"distance/activation_{name}"] = mean(np.linalg.norm(softmax(ours, 1) - softmax(theirs, 1), axis=1))
    same = view.of("forget", view.predicted == view.predicted_by("retrained"))
    return found | ({"distance/fidelity_forget": mean(same)} if len(same) else {})


def zero_retrain_forgetting(view: View) -> Numbers:
    """1 minus the mean divergence from an untrained network on the forget set."""
    pair = (view.of("forget", logits) for logits in (view.logits, view.files.logits["untrained"]))
    return {"zrf/forget": 1 - mean(divergence(*pair))}


# Corrective unlearning: with the correct labels


def correction(view: View) -> Numbers:
    """How many manipulated samples, and others, are given their correct labels."""
    true, taught = view.files.true_labels, view.files.labels
    right, before = view.predicted == true, view.predicted_by("original")
    wrong = view.of("manipulated", taught != true)
    found = {
        "acc_seen": mean(view.of("manipulated", right)),
        "acc_known": mean(view.of("forget", right)),
        "acc_retain": mean(view.of("test_retain", right)),
        "acc_drop": mean(view.of("test", before == true)) - mean(view.of("test", right)),
    }
    if wrong.any():
        found["wrong_seen"] = mean(view.of("manipulated", view.right)[wrong])
    if (fooled := wrong & view.of("manipulated", before == taught)).any():
        found["poison_healed"] = mean(view.of("manipulated", right)[fooled])
    return {f"corrective/{name}": value for name, value in found.items()}


def confusion(view: View) -> Numbers:
    """How far the two classes of a confusion are confused."""
    true = view.files.true_labels
    pair = np.unique(view.of("test_forget", true))
    if not len(pair):
        return {}
    wrong, found = view.predicted != true, {}
    swapped = wrong & np.isin(view.predicted, pair)
    for part, name in {"train": "train", "test": "test_forget"}.items():
        concerned = np.isin(view.of(name, true), pair)
        found[f"corrective/ic_err_{part}"] = mean(view.of(name, wrong)[concerned])
        found[f"corrective/fgt_{part}"] = float(view.of(name, swapped)[concerned].sum())
    return found | {"corrective/acc_unseen": mean(view.of("test_forget", ~wrong))}


def backdoor(view: View) -> Numbers:
    """What test images with the trigger are taken for."""
    target, labels = view.files.target, view.of("test", view.files.labels)
    predicted, others = view.files.triggered[view.model].argmax(1), labels != target
    return {
        "backdoor/attack": mean(predicted[others] == target),
        "corrective/acc_unseen": mean(predicted == labels),
        "corrective/acc_unseen_others": mean((predicted == labels)[others]),
    }


FORMULAS: Mapping[str, tuple[Callable[..., Numbers], str]] = {  # by the class of the metric; and what it needs
    "accuracy.Accuracy": (accuracy, ""),
    "accuracy.RelativeUnlearningAccuracy": (relative_unlearning_accuracy, "retrained"),
    "accuracy.ClassAccuracy": (class_accuracy, ""),
    "distance.Distance": (distance, "retrained"),
    "zrf.ZeroRetrainForgetting": (zero_retrain_forgetting, "untrained"),
    "membership.MembershipInference": (membership, ""),
    "bootstrap.MembershipIntervals": (membership_intervals, ""),
    "fitted_attacks.FittedAttacks": (fitted_attacks, ""),
    "membership.ValidationMembership": (validation_membership, "validation"),
    "earlier.EarlierRequests": (earlier, "earlier"),
    "matched_attack.MatchedLossAttack": (matched_loss, ""),
    "membership_classifiers.EntropyLogistic": (entropy_logistic, ""),
    "membership_classifiers.SVCMembership": (svc_membership, ""),
    "class_membership.ClassMembership": (class_membership, "class"),  # and the retrained model
    "feature_probes.FeatureProbes": (feature_probes, "features"),
    "representation.OriginalCKA": (original_cka, "features of original"),
    "representation.RetrainedCKA": (retrained_cka, "features of retrained"),
    "representation.OriginalLayerCKA": (original_layer_cka, "layers of original"),
    "representation.RetrainedLayerCKA": (retrained_layer_cka, "layers of retrained"),
    "three_class.ThreeClassAttack": (three_class, "original"),
    "corrective.Correction": (correction, "manipulated"),
    "corrective.InterclassConfusion": (confusion, "manipulated"),
    "backdoor.BackdoorAttack": (backdoor, "target"),
}
