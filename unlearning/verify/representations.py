"""What the features before the head show, from the definitions, with scikit-learn and scipy."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.linear_model import LogisticRegression

from .files import Array
from .view import Numbers, View, mean


def features_of(view: View, ids: Array, model: str) -> Array:
    """(len(ids), D) features of samples that there are features of."""
    rows = {number: row for row, number in enumerate(view.files.feature_ids.tolist())}
    found: Array = view.files.features[model][[rows[number] for number in ids.tolist()]]
    return found


def there(view: View, name: str) -> Array:
    """The ids of an index set that there are features of."""
    ids = view.files.sets[name]
    return ids[np.isin(ids, view.files.feature_ids)]


def halves(ids: Array, seed: int) -> tuple[Array, Array]:
    """The half to fit to, and the half to judge by."""
    import torch  # whose generator draws the samples

    mixed = ids[torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed)).numpy()]
    return mixed[: -(-len(ids) // 2)], mixed[-(-len(ids) // 2) :]


def feature_probes(view: View, neighbours: int = 5, seed: int = 0) -> Numbers:
    """The accuracy of a linear probe and of nearest neighbours, and how well the forget set is separated."""
    forget, retain = there(view, "forget"), there(view, "retain")
    (fit, judged), (fit_too, judged_too) = halves(forget, seed), halves(retain, seed)
    fit = np.concatenate([fit, fit_too])
    known = view.files.labels[fit]
    if len(forget) < 2 or len(np.unique(known)) < 2:
        raise ValueError("too few samples or classes")
    x = features_of(view, fit, view.model)
    centre, scale = x.mean(0), x.std(0)
    scale[scale < 1e-12] = 1
    linear = LogisticRegression(max_iter=1000).fit((x - centre) / scale, known)
    found: Numbers = {}
    for name, ids in {"forget": judged, "retain": judged_too, "test_forget": there(view, "test_forget")}.items():
        if not len(ids):
            continue
        asked, right = features_of(view, ids, view.model), view.files.labels[ids]
        found[f"probe/linear_{name}"] = mean(linear.predict((asked - centre) / scale) == right)
        nearest = known[np.argsort(-cosines(asked, x), axis=1, kind="stable")[:, :neighbours]]
        voted = np.array([np.bincount(row).argmax() for row in nearest])
        found[f"probe/knn_{name}"] = mean(voted == right)
    both = np.concatenate([forget, retain])
    return found | {
        "probe/silhouette": silhouette(features_of(view, both, view.model), view.files.labels[both], len(forget))
    }


def cosines(first: Array, second: Array) -> Array:
    """(n, m) cosine similarities of rows; 0 for rows of zeros."""
    sizes = [np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (first, second)]
    found: Array = (first / sizes[0]) @ (second / sizes[1]).T
    return found


def silhouette(x: Array, labels: Array, count: int) -> float:
    """The mean silhouette of the first ``count`` rows; 0 for a row that is alone in its class."""
    distances, kinds, found = cdist(x[:count], x), np.unique(labels), []
    if len(kinds) < 2:
        raise ValueError("one class")
    for row, label in zip(distances, labels[:count], strict=True):
        own = labels == label
        a = row[own].sum() / (own.sum() - 1) if own.sum() > 1 else 0.0
        b = min(row[labels == kind].mean() for kind in kinds if kind != label)
        found.append(0.0 if own.sum() == 1 or max(a, b) == 0 else (b - a) / max(a, b))
    return mean(np.array(found))


def original_cka(view: View, debiased: bool = False) -> Numbers:
    """Similarity of the features to the original model's."""
    return similarity(view, "original", debiased)


def retrained_cka(view: View, debiased: bool = False) -> Numbers:
    """Similarity of the features to the retrained model's."""
    return similarity(view, "retrained", debiased)


def similarity(view: View, reference: str, debiased: bool) -> Numbers:
    """Linear CKA to a model on the forget and on the retain set."""
    found: Numbers = {}
    for name in ("forget", "retain"):
        ids = there(view, name)
        pair = [features_of(view, ids, model) for model in (view.model, reference)]
        if len(ids) < (4 if debiased else 2):
            raise ValueError("too few samples")
        found[f"cka/{reference}_{name}"] = debiased_cka(*pair) if debiased else cka(*pair)
    return found


def original_layer_cka(view: View, debiased: bool = False) -> Numbers:
    """Similarity of each block's outputs to the original model's."""
    return layer_similarity(view, "original", debiased)


def retrained_layer_cka(view: View, debiased: bool = False) -> Numbers:
    """Similarity of each block's outputs to the retrained model's."""
    return layer_similarity(view, "retrained", debiased)


def layer_similarity(view: View, reference: str, debiased: bool) -> Numbers:
    """Linear CKA of each block to that of a model on the forget and on the retain set."""
    found: Numbers = {}
    ends = np.cumsum([*view.files.widths.values()])
    for name in ("forget", "retain"):
        rows = np.isin(view.files.feature_ids, view.files.sets[name])
        if rows.sum() < (4 if debiased else 2):
            raise ValueError("too few samples")
        blocks = (np.split(view.files.layers[model][rows], ends[:-1], 1) for model in (view.model, reference))
        for block, *pair in zip(view.files.widths, *blocks, strict=True):
            found[f"layer_cka/{reference}_{name}/{block}"] = debiased_cka(*pair) if debiased else cka(*pair)
    return found


def audit(row: Numbers, retrained: Numbers) -> Numbers:
    """Agreement with the retrained model in the outputs and in the features, and their harmonic mean."""
    said = ("forget/acc", "retain/acc", "test/acc", "mia/loss_auc")
    shown = ["probe/knn_forget", *(["transfer/knn"] if "transfer/knn" in row else [])]
    like = ("cka/retrained_forget", "cka/retrained_retain")
    if not {*said, *shown, *like} <= row.keys():
        return {}
    near = {name: 1 - abs(row[name] - retrained[name]) for name in (*said, *shown)}
    output = float(np.mean([near[name] for name in said]))
    representation = float(np.mean([near[name] for name in shown] + [np.clip(row[name], 0, 1) for name in like]))
    summary = 0.0 if output + representation <= 0 else 2 / (1 / output + 1 / representation)
    return {"audit/output": output, "audit/representation": representation, "audit/summary": summary}


def cka(x: Array, y: Array) -> float:
    """By covariances, as Kornblith et al. write it."""
    x, y = x - x.mean(0), y - y.mean(0)
    return float(np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))


def debiased_cka(x: Array, y: Array) -> float:
    """By U-centred Gram matrices (Szekely and Rizzo, 2014), whose inner product is the unbiased HSIC."""
    centred = []
    for features in (x, y):
        gram = features @ features.T
        n, gram = len(gram), gram - np.diag(np.diag(gram))
        rows = gram.sum(1, keepdims=True)
        gram = gram - (rows + rows.T) / (n - 2) + rows.sum() / ((n - 1) * (n - 2))
        centred.append(gram - np.diag(np.diag(gram)))
    k, m = centred
    return float((k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum()))
