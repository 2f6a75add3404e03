"""Intervals of membership attacks, and attacks that are fitted, from their definitions, with scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from .attacks import feature, require_two, shown
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
    sets = kinds(view)
    require_two(*sets)
    fprs = shown(fprs, len(sets[1]))
    found: Numbers = {}
    for name in features:
        pair = score(name, view, sets[0]), score(name, view, sets[1])
        numbers = by_threshold(*pair, fprs)
        found |= {f"mia/{name}_{what}": value for what, value in numbers.items() if what != "auc"}
        found |= {f"mia/{name}_{what}": value for what, value in ends(*pair, fprs, level, resamples, seed).items()}
    return found


def by_threshold(members: Array, others: Array, fprs: Sequence[float]) -> Numbers:
    """The area under the ROC curve of scores, and the rates of true positives, by the end of their names."""
    ordered = np.sort(others)
    below, upto = (np.searchsorted(ordered, members, side) for side in ("left", "right"))
    found = {"auc": float((below + upto).mean() / 2 / len(others))}
    for fpr in fprs:  # at most so many non-members are above
        threshold = ordered[::-1][int(fpr * len(others) + 1e-9)]
        found[f"tpr_at_{100 * fpr:g}pct"] = float((members > threshold).mean())
    return found


def ends(members: Array, others: Array, fprs: Sequence[float], level: float, resamples: int, seed: int) -> Numbers:
    """The ends of the intervals of the numbers of ``by_threshold``, over samples drawn with replacement."""
    import torch  # whose generator draws the samples

    generator, draws = torch.Generator().manual_seed(seed), []
    for _ in range(resamples):
        drawn = [v[torch.randint(len(v), (len(v),), generator=generator).numpy()] for v in (members, others)]
        draws.append(by_threshold(drawn[0], drawn[1], fprs))
    found: Numbers = {}
    for what in draws[0]:
        low, high = np.quantile([draw[what] for draw in draws], [(1 - level) / 2, (1 + level) / 2])
        found |= {f"{what}_low": float(low), f"{what}_high": float(high)}
    return found


def fitted_attacks(
    view: View,
    inputs: Sequence[str] = ALL,
    attackers: Sequence[str] = ("threshold", "logistic", "svc"),
    limit: int = 500,
    folds: int = 5,
    fprs: Sequence[float] = (0.01, 0.001),
    level: float = 0.95,
    resamples: int = 400,
    seed: int = 0,
) -> Numbers:
    """The numbers of cross-validated attacks, with as many non-members as members of every class."""
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
    rates = shown(fprs, count)
    found: Numbers = {}
    for name in inputs:
        values = feature(name, view.logits[ids], labels[ids]).reshape(2 * count, -1)
        for attacker in attackers:
            if attacker == "threshold" and name not in ("loss", "entropy", "modified_entropy"):
                continue
            scores = np.empty(2 * count)
            for number in range(folds):
                fit, rest = fold != number, fold == number
                if attacker == "threshold":
                    scores[rest] = score(name, view, ids)[rest]
                    continue
                centre, scale = values[fit].mean(0), values[fit].std(0)
                scale[scale < 1e-12] = 1
                attack = LogisticRegression(max_iter=1000) if attacker == "logistic" else SVC(C=3)
                attack.fit((values[fit] - centre) / scale, known[fit])
                given = attack.decision_function((values - centre) / scale)
                usual = given[fit & (known == 0)]  # of the non-members that it was fitted to
                scores[rest] = (given[rest] - usual.mean()) / max(usual.std(), 1e-9)
            pair = scores[:count], scores[count:]
            numbers = by_threshold(*pair, rates) | ends(*pair, rates, level, resamples, seed)
            found |= {f"attack/{attacker}_{name}_{what}": value for what, value in numbers.items()}
    return found
