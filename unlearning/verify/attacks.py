"""Membership attacks on the forget set, from their definitions, with scikit-learn.

With the margin ``m_i = z_i - ln sum_{j != i} exp z_j`` of each class, ``p_i = 1 / (1 + exp(-m_i))``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import entr, expit, logsumexp, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit
from sklearn.svm import SVC

from .files import Array
from .view import Numbers, View, mean


def margins(logits: Array) -> Array:
    """(N, C) margins."""
    others = [logsumexp(np.delete(logits, c, axis=1), axis=1) for c in range(logits.shape[1])]
    return logits - np.stack(others, 1)


def feature(name: str, logits: Array, labels: Array) -> Array:
    """(N,) a number for each sample; (N, C) for ``probability``."""
    rows = np.arange(len(logits))
    if name == "correctness":
        return (logits.argmax(1) == labels).astype(np.float64)
    if name in ("probability", "entropy"):
        p = softmax(logits, 1)
        return p if name == "probability" else np.asarray(entr(p).sum(1))
    m = margins(logits)
    own = m[rows, labels]
    if name == "margin":
        return own
    if name == "confidence":
        return np.asarray(expit(own))
    if name == "loss":
        return np.logaddexp(0, -own)
    if name != "modified_entropy":
        raise ValueError(f"there is no feature {name}")
    terms = expit(m) * np.logaddexp(0, m)  # -p_i ln(1 - p_i)
    terms[rows, labels] = expit(-own) * np.logaddexp(0, -own)  # -(1 - p_y) ln p_y
    return np.asarray(terms.sum(1))


def membership(view: View, features: Sequence[str] = ("loss", "entropy"), fprs: Sequence[float] = (0.01,)) -> Numbers:
    """Threshold attacks: the area under the ROC curve, and the rate of true positives at a rate of false ones."""
    kind = view.files.forget_classes or len(view.files.sets["test_forget"])
    ids = [view.files.sets[name] for name in ("forget", "test_forget" if kind else "test")]
    require_two(*ids)
    members = np.repeat([1, 0], [len(part) for part in ids])
    both = np.concatenate(ids)
    found = {}
    for name in features:
        values = feature(name, view.logits[both], view.files.labels[both])
        scores = values if name in ("confidence", "margin") else -values  # the higher, the more like a member
        found[f"mia/{name}_auc"] = float(roc_auc_score(members, scores))
        false, true, _ = roc_curve(members, scores, drop_intermediate=False)
        for fpr in shown(fprs, len(ids[1])):
            found[f"mia/{name}_tpr_at_{100 * fpr:g}pct"] = float(true[false <= fpr + 1e-12].max())
    return found


def shown(fprs: Sequence[float], others: int) -> list[float]:
    """The false positive rates that are not below that of a single non-member."""
    return [fpr for fpr in fprs if round(others * fpr, 9) >= 1]


def validation_membership(view: View) -> Numbers:
    """The area under the ROC curve of the loss, with the validation samples of the forget set's classes."""
    files = view.files
    members, others = files.sets["forget"], files.sets["validation"]
    others = others[np.isin(files.labels[others], np.unique(files.labels[members]))]
    require_two(members, others)
    both = np.concatenate([members, others])
    scores = -feature("loss", view.logits[both], files.labels[both])
    return {"val/loss_auc": float(roc_auc_score(np.repeat([1, 0], [len(members), len(others)]), scores))}


def earlier(view: View) -> Numbers:
    """The accuracy on what earlier requests forgot, and the attack by the loss between it and the test set."""
    ids, test, labels = view.files.earlier, view.files.sets["test"], view.files.labels
    found = {"earlier/acc": mean(view.right[ids])}
    if min(len(ids), len(test)) > 1:
        both = np.concatenate([ids, test])
        scores = -feature("loss", view.logits[both], labels[both])
        found["earlier/loss_auc"] = float(roc_auc_score(np.repeat([1, 0], [len(ids), len(test)]), scores))
    return found


def require_two(*sets: Array) -> None:
    """Raise ``ValueError`` where a set has fewer than two samples."""
    if min(map(len, sets)) < 2:
        raise ValueError("too few members or non-members")


def matched_loss(view: View, shuffles: int = 5, held_out: float = 0.1, clip: float = 100.0, seed: int = 0) -> Numbers:
    """The accuracy of a logistic regression on the loss, with as many non-members as members of every class."""
    import torch  # whose generator draws the samples

    labels, generator = view.files.labels, torch.Generator().manual_seed(seed)
    kind = view.files.forget_classes or len(view.files.sets["test_forget"])
    sets = [view.files.sets[name] for name in ("forget", "test_forget" if kind else "test")]
    drawn: list[list[int]] = [[], []]
    for number in np.unique(labels[sets[0]]):
        pools = [ids[labels[ids] == number] for ids in sets]
        orders = [torch.randperm(len(pool), generator=generator).numpy() for pool in pools]
        least = min(map(len, pools))
        for part, pool, order in zip(drawn, pools, orders, strict=True):
            part += pool[order][:least].tolist()
    require_two(*map(np.array, drawn))
    ids = np.concatenate(drawn).astype(np.int64)
    known = np.repeat([1, 0], [len(part) for part in drawn])
    losses = np.clip(feature("loss", view.logits[ids], labels[ids]), -clip, clip)[:, None]
    scores = []
    for fit, rest in StratifiedShuffleSplit(
        shuffles, test_size=max(2, round(held_out * len(ids))), random_state=seed
    ).split(losses, known):
        attack = LogisticRegression().fit(losses[fit], known[fit])
        scores.append(mean(attack.predict(losses[rest]) == known[rest]))
    return {"mia/matched_loss_acc": float(np.mean(scores)), "mia/matched_loss_acc_sd": float(np.std(scores))}


def entropy_logistic(view: View) -> Numbers:
    """The fraction of the forget set that a logistic regression on the entropy calls member."""
    retain, test, forget = (
        feature("entropy", view.of(name, view.logits), view.of(name, view.files.labels))[:, None]
        for name in ("retain", "test", "forget")
    )
    require_two(retain, test)
    known = np.repeat([1, 0], [len(retain), len(test)])
    attack = LogisticRegression(class_weight="balanced").fit(np.concatenate([retain, test]), known)
    return {"mia/entropy_logistic": mean(attack.predict(forget))}


def svc_membership(view: View, limit: int = 1000, seed: int = 0) -> Numbers:
    """The fractions of the forget set that a support vector classifier calls member and non-member."""
    import torch  # whose generator draws the samples

    sets = [view.files.sets[name] for name in ("retain", "test")]
    require_two(*sets)
    count, generator = min(limit, *map(len, sets)), torch.Generator().manual_seed(seed)
    ids = np.concatenate([part[torch.randperm(len(part), generator=generator).numpy()[:count]] for part in sets])
    known, forget = np.repeat([1, 0], count), view.files.sets["forget"]
    found: Numbers = {}
    for name in ("correctness", "confidence", "entropy", "modified_entropy", "probability"):
        fit, asked = (
            feature(name, view.logits[part], view.files.labels[part]).reshape(len(part), -1) for part in (ids, forget)
        )
        members = mean(SVC(C=3, kernel="rbf", gamma=1 / fit.shape[1]).fit(fit, known).predict(asked))
        found |= {f"mia/svc_{name}_member": members, f"mia/svc_{name}_nonmember": 1 - members}
    return found


def class_membership(view: View, folds: int = 5) -> Numbers:
    """Whether probabilities of the other classes tell this model's view of a forgotten class from the retrained's."""
    rest = np.setdiff1d(np.arange(view.logits.shape[1]), view.files.forget_classes)
    pair = [view.of("forget", logits)[:, rest] for logits in (view.logits, view.files.logits["retrained"])]
    samples = len(pair[0])
    if samples < folds or len(rest) < 2:
        raise ValueError("too few samples or classes")
    logs = np.stack([logits - logsumexp(logits, 1, keepdims=True) for logits in pair], 1)  # (N, 2, C)
    ours, fold = np.array([1, 0]), np.arange(samples) % folds
    scores = np.empty((samples, 2))
    for number in range(folds):
        known, asked = logs[fold != number].reshape(-1, len(rest)), logs[fold == number].reshape(-1, len(rest))
        scale = known.std(0)
        scale[scale < 1e-12] = 1
        attack = LogisticRegression(max_iter=1000).fit((known - known.mean(0)) / scale, np.tile(ours, len(known) // 2))
        scores[fold == number] = attack.decision_function((asked - known.mean(0)) / scale).reshape(-1, 2)
    labels, differences = view.of("forget", view.files.labels), []
    for label in labels:  # each sample stands for its class
        means = np.exp(logs[labels == label]).mean(0)
        differences.append(np.abs(means[0] - means[1]).sum() / 2)
    auc = float(roc_auc_score(np.tile(ours, samples), scores.ravel()))
    return {"cmia/auc": auc, "cmia/tv": mean(np.array(differences))}


def three_class(view: View, limit: int = 1000, folds: int = 5, seed: int = 0) -> Numbers:
    """Whether forgotten, retained and unseen samples can be told by the outputs before and after."""
    import torch  # whose generator draws the samples

    def drawn(ids: Array, count: int) -> Array:
        return ids[torch.randperm(len(ids), generator=torch.Generator().manual_seed(0)).numpy()[:count]]

    forget, retain, test, of_kind, others = (
        view.files.sets[name] for name in ("forget", "retain", "test", "test_forget", "test_retain")
    )
    count = min(limit, len(forget), len(retain), len(test))
    if len(of_kind):
        count = min(count, 2 * len(of_kind), 2 * len(others))
        unseen = np.concatenate([drawn(others, -(-count // 2)), drawn(of_kind, count // 2)])
    else:
        unseen = drawn(test, count)
    if count < folds or (view.files.forget_classes and not len(of_kind)):
        raise ValueError("too few samples")
    ids, kinds = np.concatenate([drawn(forget, count), drawn(retain, count), unseen]), np.repeat([0, 1, 2], count)
    seen = np.stack(
        [
            feature(name, logits[ids], view.files.labels[ids])
            for logits in (view.logits, view.files.logits["original"])
            for name in ("margin", "entropy", "modified_entropy")
        ],
        1,
    )
    shares = np.empty((len(ids), 3))
    for fit, rest in StratifiedKFold(folds, shuffle=True, random_state=seed).split(seen, kinds):
        centre, scale = seen[fit].mean(0), seen[fit].std(0)
        attack = LogisticRegression(max_iter=1000).fit((seen[fit] - centre) / np.maximum(scale, 1e-12), kinds[fit])
        shares[rest] = attack.predict_log_proba((seen[rest] - centre) / np.maximum(scale, 1e-12))
    found = {"tcmia/acc": mean(shares.argmax(1) == kinds)}
    mine = np.isin(unseen, of_kind)
    for name, number, part in (("retain", 1, ~mine), ("forget", 0, mine if len(of_kind) else ~mine)):
        odds = shares[:, number] - shares[:, 2]
        pair = odds[kinds == number], odds[kinds == 2][part]
        found[f"tcmia/{name}_auc"] = float(roc_auc_score(np.repeat([1, 0], [*map(len, pair)]), np.concatenate(pair)))
    return found
