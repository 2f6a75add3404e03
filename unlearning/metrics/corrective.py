"""Whether manipulated samples still do harm: correction is measured with the right labels, whatever the data carry."""

import torch
from torch import Tensor

from .base import Evidence, Metric


class Correction(Metric):
    """Whether the manipulated samples S_m, known or not, are given their right labels, and what that cost elsewhere.

    After Goel et al. (2024, arXiv:2402.14015): ``acc_seen`` (their Acc_corr on S_m) and ``acc_known`` (on the known
    part of it) are accuracies under the right labels; ``acc_retain`` (Acc_retain) is that on test, for a confusion on
    the test samples of the other classes. ``wrong_seen`` is the share of S_m, as far as its labels are wrong, that is
    still given those labels.

    After Schoepf et al. (2024, arXiv:2406.09173), whose abstract names them without a formula: ``poison_healed`` is the
    share of the wrongly labelled samples of S_m on which the original model says what it was taught, and this model
    what is right; ``acc_drop``, by how much test accuracy is below the original's. There is none of the first
    where the original learned none of the wrong labels.
    """

    directions = {
        "corrective/acc_seen": "up",
        "corrective/acc_known": "up",
        "corrective/acc_retain": "up",
        "corrective/wrong_seen": "down",
        "corrective/poison_healed": "up",
        "corrective/acc_drop": "down",
    }
    needs_manipulated = True

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        split, said = evidence.split, evidence.logits.argmax(-1)
        right, taught = said == evidence.true_labels, said == evidence.labels
        original = evidence.original.argmax(-1)
        mislabelled = split.manipulated[(evidence.labels != evidence.true_labels)[split.manipulated]]
        fooled = mislabelled[(original == evidence.labels)[mislabelled]]
        before = share(original == evidence.true_labels, split.test)
        found = {
            "acc_seen": share(right, split.manipulated),
            "acc_known": share(right, split.forget),
            "acc_retain": share(right, split.test_retain),
            "acc_drop": before - share(right, split.test),
        }
        if len(mislabelled):
            found["wrong_seen"] = share(taught, mislabelled)
        if len(fooled):
            found["poison_healed"] = share(right, fooled)
        return {f"corrective/{name}": value for name, value in found.items()}


class InterclassConfusion(Metric):
    """How far two classes are still confused: on their training samples, swapped or clean, and on their test samples.

    ``acc_unseen`` is the accuracy on the test samples of the two classes (Acc_corr unseen; Goel et al., 2024,
    arXiv:2402.14015). ``ic_err_train`` and ``ic_err_test`` are the share of the samples of the two classes that are
    misclassified, as whatever; ``fgt_train`` and ``fgt_test`` the number that are taken for the other of the two (Goel
    et al., 2022, arXiv:2201.06640). What class a sample is of, and what is right, its right label says. There is none
    for manipulations that are not of two classes.
    """

    directions = {"corrective/acc_unseen": "up", "corrective/ic_err_*": "down", "corrective/fgt_*": "down"}
    needs_manipulated = True

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        split, said, true = evidence.split, evidence.logits.argmax(-1), evidence.true_labels
        pair = true[split.test_forget].unique()  # empty but for a confusion
        wrong = said != true
        train = split.train[torch.isin(true[split.train], pair)]
        found = {}
        for part, ids in {"train": train, "test": split.test_forget}.items():
            if len(pair):
                found[f"corrective/ic_err_{part}"] = share(wrong, ids)
                found[f"corrective/fgt_{part}"] = float((wrong & torch.isin(said, pair))[ids].sum())
        if len(pair):
            found["corrective/acc_unseen"] = share(~wrong, split.test_forget)
        return found


def share(condition: Tensor, ids: Tensor) -> float:
    """Of the samples ``ids``, the share for which a condition (N,) holds; NaN of none."""
    return condition[ids].double().mean().item()
