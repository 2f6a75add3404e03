"""Accuracy on each set and on each class."""

from collections.abc import Sequence
from typing import Literal

from torchmetrics.functional.classification import multiclass_recall

from .base import Evidence, Metric, given


class Accuracy(Metric):
    """Fraction of samples given the label that the data carry, in [0, 1], for each index set that is not empty.

    On the samples to retain, higher is better. On what is forgotten neither too little nor too much forgetting is
    right, so closer to the retrained model is better there, and so it is on validation and test as a whole.

    A manipulated sample counts as correct if it is given the label as taught. Where the retain set holds manipulated
    samples that are not known, a corrected model is therefore below the retrained one in ``retain/acc``, because the
    latter learned their wrong labels: read ``metrics.corrective.Correction`` there, and not ``gap/mean``.

    The field's abbreviations (Jia et al., 2023, arXiv:2304.04934): RA is ``retain/acc``, TA is ``test/acc``, and UA,
    the unlearning accuracy, is ``forget/ua`` = 1 - ``forget/acc``.
    """

    directions = {
        "forget/acc": "to-retrained",
        "forget/ua": "to-retrained",
        "test_forget/acc": "to-retrained",
        "retain/acc": "up",
        "val/acc": "to-retrained",
        "test/acc": "to-retrained",
        "test_retain/acc": "up",
    }

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        correct = (evidence.logits.argmax(-1) == evidence.labels).double()
        split = evidence.split
        sets = {
            "forget": split.forget,
            "retain": split.retain,
            "val": split.validation,
            "test": split.test,
            "test_forget": split.test_forget,
            "test_retain": split.test_retain,
        }
        found = {f"{name}/acc": correct[ids].mean().item() for name, ids in sets.items() if len(ids)}
        if "forget/acc" in found:
            found["forget/ua"] = 1 - found["forget/acc"]
        return found


class RelativeUnlearningAccuracy(Metric):
    """``forget/rua``: relative unlearning accuracy, the accuracy on the forget set minus the retrained model's.

    ``rUA = acc_f(model) - acc_f(retrained)`` (arXiv:2511.02435), in [-1, 1]; 0 is best. Above 0 the model has forgotten
    too little, below 0 more than retraining would. It is ``gap/forget/acc`` for every model of the table.
    """

    directions = {"forget/rua": "to-retrained"}
    needs = ("retrained",)

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        ids = evidence.split.forget
        ours, theirs = (
            (logits[ids].argmax(-1) == evidence.labels[ids]).double().mean().item()
            for logits in (evidence.logits, given(evidence.retrained))
        )
        return {"forget/rua": ours - theirs}


class ClassAccuracy(Metric):
    """``class_acc/<class name>``: the recall of each class on test; closer to the retrained model is better.

    On other sets it is ``<set>/class_acc/<class name>``. The row of the original model has the recalls before, that of
    the unlearned model those after. There is no number for a class of which a set has no samples.

    Args:
        sets: the index sets; un-augmented, as all predictions are.
    """

    directions = {"class_acc/*": "to-retrained", "*/class_acc/*": "to-retrained"}

    def __init__(self, sets: Sequence[Literal["test", "forget", "retain"]] = ("test",)) -> None:
        self.sets = tuple(sets)

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        found: dict[str, float] = {}
        for name in self.sets:
            ids, prefix = evidence.split.sets[name], "" if name == "test" else f"{name}/"
            if not len(ids):
                continue  # torchmetrics would raise
            predicted, labels = evidence.logits[ids].argmax(-1), evidence.labels[ids]
            rates = multiclass_recall(predicted, labels, num_classes=len(evidence.classes), average="none").tolist()
            found |= {f"{prefix}class_acc/{evidence.classes[c]}": rates[c] for c in labels.unique().tolist()}
        return found
