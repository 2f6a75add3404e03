"""The harm that manipulated samples still do, measured with the correct labels whatever the data carry."""

import torch
from torch import Tensor

from .base import Evidence, Metric, given


class Correction(Metric):
    """Whether the manipulated samples S_m are given their correct labels, and what that cost on other samples.

    After Goel et al. (2024, arXiv:2402.14015), all under the correct labels:

    * ``acc_seen``: accuracy on S_m, known or not (their Acc_corr); higher is better.
    * ``acc_known``: accuracy on the known part of S_m; higher is better.
    * ``acc_retain``: accuracy on test, and for a confusion on the test samples of the other classes (their Acc_retain);
      higher is better.
    * ``wrong_seen``: fraction of the wrongly labelled samples of S_m that are still given those labels; lower is
      better.

    After Schoepf et al. (2024, arXiv:2406.09173), whose abstract names them without a formula:

    * ``poison_healed``: fraction given the correct label, among the wrongly labelled samples of S_m to which the
      original model gives the label as taught; higher is better. It is missing where there are no such samples.
    * ``acc_drop``: test accuracy of the original model minus that of this one; lower is better.
    """

    directions = {
        "corrective/acc_seen": "up",
        "corrective/acc_known": "up",
        "corrective/acc_retain": "up",
        "corrective/wrong_seen": "down",
        "corrective/poison_healed": "up",
        "corrective/acc_drop": "down",
    }
    needs = ("manipulated",)

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        split, predicted, true = evidence.split, evidence.logits.argmax(-1), given(evidence.true_labels)
        correct, as_taught = predicted == true, predicted == evidence.labels
        original = given(evidence.original).argmax(-1)
        mislabelled = split.manipulated[(evidence.labels != true)[split.manipulated]]
        fooled = mislabelled[(original == evidence.labels)[mislabelled]]
        before = fraction(original == true, split.test)
        found = {
            "acc_seen": fraction(correct, split.manipulated),
            "acc_known": fraction(correct, split.forget),
            "acc_retain": fraction(correct, split.test_retain),
            "acc_drop": before - fraction(correct, split.test),
        }
        if len(mislabelled):
            found["wrong_seen"] = fraction(as_taught, mislabelled)
        if len(fooled):
            found["poison_healed"] = fraction(correct, fooled)
        return {f"corrective/{name}": value for name, value in found.items()}


class InterclassConfusion(Metric):
    """How far two classes are still confused: on their training samples, swapped or clean, and on their test samples.

    The correct labels decide which class a sample belongs to and which prediction is right. There are no numbers for
    manipulations that do not concern two classes.

    * ``acc_unseen``: accuracy on the test samples of the two classes; higher is better (Acc_corr unseen; Goel et al.,
      2024, arXiv:2402.14015).
    * ``ic_err_train``, ``ic_err_test``: fraction of the samples of the two classes that are misclassified, as any
      class; lower is better (Goel et al., 2022, arXiv:2201.06640).
    * ``fgt_train``, ``fgt_test``: number of these samples that are mistaken for the other of the two classes; lower is
      better (ibid.).
    """

    directions = {"corrective/acc_unseen": "up", "corrective/ic_err_*": "down", "corrective/fgt_*": "down"}
    needs = ("manipulated",)

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        split, predicted, true = evidence.split, evidence.logits.argmax(-1), given(evidence.true_labels)
        pair = true[split.test_forget].unique()  # empty except for a confusion
        wrong = predicted != true
        train = split.train[torch.isin(true[split.train], pair)]
        found = {}
        for part, ids in {"train": train, "test": split.test_forget}.items():
            if len(pair):
                found[f"corrective/ic_err_{part}"] = fraction(wrong, ids)
                found[f"corrective/fgt_{part}"] = float((wrong & torch.isin(predicted, pair))[ids].sum())
        if len(pair):
            found["corrective/acc_unseen"] = fraction(~wrong, split.test_forget)
        return found


def fraction(condition: Tensor, ids: Tensor) -> float:
    """Fraction of the samples ``ids`` for which a condition (N,) holds; NaN where there are none."""
    return condition[ids].double().mean().item()
