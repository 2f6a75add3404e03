"""Intervals of membership attacks, and attacks that are fitted, from their definitions, with scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.svm import SVC

from .attacks import feature, require_two
from .files import Array
from .view import Numbers, View

ALL = ("loss", "confidence", "entropy", "modified_entropy", "margin", "probability")


def kinds(view: View) -> list[Array]:
    """The ids of the members and of the non-members, which are of the forgotten kind where there is one."""
    kind = view.files.forget_classes or len(view.files.sets["test_forget"])
    return [view.files.sets[name] for name in ("forget", "test_forget" if kind else "test")]


def score(name: str, view: View, ids: Array) -> Array:
    """(len(ids),) a number that is higher for what looks like a member."""
    values = feature(name, view.logits[ids], view.files.labels[ids])
    return values if name in ("confidence", "margin") else -values


def membership_intervals(
    view: View,
    features: Sequence[str] = ("loss", "entropy"),
    fprs: Sequence[float] = (0.01, 0.001),
    level: float = 0.95,
    resamples: int = 400,
    seed: int = 0,
) -> Numbers:
    """Percentiles of the threshold attacks' numbers over samples that are drawn with replacement."""
    import torch  # whose generator draws the samples

    sets = kinds(view)
    require_two(*sets)
    stated = [fpr for fpr in fprs if len(sets[1]) * fpr >= 1 - 1e-9]
    found: Numbers = {}
    for name in features:
        members, others = (score(name, view, ids) for ids in sets)
        generator, rows = torch.Generator().manual_seed(seed), []
        for fpr in stated:  # at most so many non-members are above
            threshold = np.sort(others)[::-1][int(fpr * len(others) + 1e-9)]
            found[f"mia/{name}_tpr_at_{100 * fpr:g}pct"] = float((members > threshold).mean())
        for _ in range(resamples):
            ours, theirs = (
                values[torch.randint(len(values), (len(values),), generator=generator).numpy()]
                for values in (members, others)
            )
            below, upto = (np.searchsorted(np.sort(theirs), ours, side) for side in ("left", "right"))
            row = [float((below + upto).mean() / 2 / len(theirs))]
            for fpr in stated:
                threshold = np.sort(theirs)[::-1][int(fpr * len(theirs) + 1e-9)]
                row.append(float((ours > threshold).mean()))
            rows.append(row)
        low, high = np.quantile(rows, [(1 - level) / 2, (1 + level) / 2], axis=0)
        for place, what in enumerate(["auc", *(f"tpr_at_{100 * fpr:g}pct" for fpr in stated)]):
            found |= {f"mia/{name}_{what}_low": low[place], f"mia/{name}_{what}_high": high[place]}
    return found


def fitted_attacks(
    view: View,
    inputs: Sequence[str] = ALL,
    attackers: Sequence[str] = ("threshold", "logistic", "svc"),
    limit: int = 500,
    folds: int = 5,
    seed: int = 0,
) -> Numbers:
    """The mean area under the ROC curve over folds, with as many non-members as members of every class."""
    import torch  # whose generator draws the samples

    labels, generator = view.files.labels, torch.Generator().manual_seed(seed)
    sets, drawn = kinds(view), [[], []]  # type: tuple[list[Array], list[list[int]]]
    classes = np.unique(labels[sets[0]])
    for number in classes:
        pools = [ids[labels[ids] == number] for ids in sets]
        count = min(*map(len, pools), max(limit // len(classes), 1))
        for part, pool in zip(drawn, pools, strict=True):
            part += pool[torch.randperm(len(pool), generator=generator).numpy()][:count].tolist()
    count = len(drawn[0])
    if count < folds:
        raise ValueError("too few members")
    ids, known = np.array(drawn[0] + drawn[1]), np.repeat([1, 0], count)
    fold = np.tile(np.arange(count) % folds, 2)
    found: Numbers = {}
    for name in inputs:
        values = feature(name, view.logits[ids], labels[ids]).reshape(2 * count, -1)
        for attacker in attackers:
            if attacker == "threshold" and name not in ("loss", "entropy", "modified_entropy"):
                continue
            areas = []
            for number in range(folds):
                fit, rest = fold != number, fold == number
                if attacker == "threshold":
                    scores = score(name, view, ids)[rest]
                else:
                    centre, scale = values[fit].mean(0), values[fit].std(0)
                    scale[scale < 1e-12] = 1
                    attack = LogisticRegression(max_iter=1000) if attacker == "logistic" else SVC(C=3)
                    attack.fit((values[fit] - centre) / scale, known[fit])
                    scores = attack.decision_function((values[rest] - centre) / scale)
                areas.append(roc_auc_score(known[rest], scores))
            found[f"attack/{attacker}_{name}_auc"] = float(np.mean(areas))
    return found
