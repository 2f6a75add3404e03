"""What a run's saved predictions show, small enough for a page: losses, ROC curves of the loss attack, confusions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import logsumexp

from ...errors import UserError
from ...records.names import PREDICTIONS, REFERENCES, SPLIT
from ...verify.files import Array, tensors
from ..runs import Run

LARGEST = 256 << 20  # bytes of a file that is read for a page
MODELS = ("original", "retrained", "clean")
EDGES = np.linspace(-6, 2, 33)  # of the bins of log10 of a loss, which ends there
RATES = np.geomspace(1e-4, 1, 41)  # false positives of the ROC
SHOWN = 20  # classes on each side of a matrix; where there are more, those with the most samples


class Outputs:
    """Reads the predictions of runs; what is shared by several, of their reference models, is summarised once."""

    def __init__(self) -> None:
        self.references: dict[str, dict[str, Any]] = {}

    def of(self, run: Run) -> dict[str, Any] | None:
        """The summary of a run's predictions; None where its folder holds none, or too large ones.

        ``unlearned`` is that of its model, ``references`` the name of those of the other models.
        """
        try:
            return self.summary(run)
        except (UserError, OSError, KeyError, ValueError, IndexError):  # moved, cut off, or of an earlier version
            return None

    def summary(self, run: Run) -> dict[str, Any] | None:
        """The same; raises where files do not fit."""
        (name,) = (file for file in run.result["files"] if file.startswith(REFERENCES))
        if any((run.folder / file).stat().st_size > LARGEST for file in (PREDICTIONS, name)):
            return None
        own, about = tensors(run.folder / PREDICTIONS)
        sets, facts = tensors(run.folder / SPLIT)
        kind = json.loads(facts["forget_classes"]) or len(sets["test_forget"])
        sets = {"forget": sets["forget"], "test": sets["test"], "unseen": sets["test_forget" if kind else "test"]}
        classes, labels = json.loads(about["classes"]), own["labels"]
        key = f"{name} {run.result['data']['split']}"
        if key not in self.references:
            self.references[key] = self.others(run.folder / name, labels, sets, classes)
        return {
            "run": run.name,
            "references": key,
            "unseen": "unseen samples of its kind" if kind else "test samples",
            "unlearned": summarised(own["logits"], labels, sets, classes),
        }

    def others(self, path: Path, labels: Array, sets: Mapping[str, Array], classes: Sequence[str]) -> dict[str, Any]:
        """The summaries of the reference models of a file."""
        found, _ = tensors(path)
        there = {model: found[f"{model} logits"] for model in MODELS if f"{model} logits" in found}
        return {model: summarised(logits, labels, sets, classes) for model, logits in there.items()}


def summarised(logits: Array, labels: Array, sets: Mapping[str, Array], classes: Sequence[str]) -> dict[str, Any]:
    """What a page shows of one model: logits (N, C) and labels (N,) by sample id."""
    members, others = (losses(logits[sets[name]], labels[sets[name]]) for name in ("forget", "unseen"))
    found: dict[str, Any] = {"histograms": [histogram(members), histogram(others)]}
    if len(members) and len(others):
        found |= {"roc": roc(-members, -others), "auc": round(auc(-members, -others), 3)}
    for name in ("forget", "test"):
        found[name] = matrix(labels[sets[name]], logits[sets[name]].argmax(1), classes)
    return found


def losses(logits: Array, labels: Array) -> Array:
    """(N,) cross-entropies, exact for those near 0: ``ln(1 + sum_{j != y} exp(z_j - z_y))``."""
    rows = np.arange(len(logits))
    others = logits.astype(np.float64)
    own = others[rows, labels]
    others[rows, labels] = -np.inf
    found: Array = np.logaddexp(0, logsumexp(others, axis=1) - own) if len(rows) else np.empty(0)
    return found[np.isfinite(found)]


def histogram(values: Array) -> list[float]:
    """The fraction of losses in each bin; those beyond the ends are in the last bins."""
    logs = np.clip(np.log10(np.maximum(values, 1e-12)), EDGES[0], EDGES[-1])
    counts, _ = np.histogram(logs, EDGES)
    return [round(float(share), 4) for share in counts / max(len(values), 1)]


def roc(members: Array, others: Array) -> list[float | None]:
    """The largest rate of true positives at no more than each rate of false ones; None for rates below 1/N."""
    ordered = np.sort(others)[::-1]
    ranked = np.append(ordered, -np.inf)
    allowed = np.minimum(np.floor(RATES * len(others) + 1e-9).astype(int), len(others))
    return [round(float(np.mean(members > ranked[n])), 4) if n else None for n in allowed]


def auc(members: Array, others: Array) -> float:
    """How often a member has the larger score, ties counted half."""
    ordered = np.sort(others)
    sides = [np.searchsorted(ordered, members, side) for side in ("left", "right")]
    return float(np.mean(sides) / len(others))


def matrix(labels: Array, predicted: Array, classes: Sequence[str]) -> dict[str, Any]:
    """Counts of predictions by label; with more classes than are shown, the rest of the predictions is the last column.

    Labels that no sample has are left out.
    """
    count = len(classes)
    table = np.bincount(labels.astype(np.int64) * count + predicted, minlength=count * count).reshape(count, count)
    rows = np.sort(np.argsort(-table.sum(1), kind="stable")[:SHOWN])
    rows = rows[table[rows].sum(1) > 0]
    columns = np.arange(count)
    if count > SHOWN:
        columns = np.sort(np.argsort(-table[rows].sum(0), kind="stable")[: SHOWN - 1])
    counts, names = table[np.ix_(rows, columns)], [str(classes[int(c)]) for c in columns]
    if count > SHOWN:
        counts = np.column_stack([counts, table[rows].sum(1) - counts.sum(1)])
        names.append("others")
    return {"rows": [str(classes[int(r)]) for r in rows], "columns": names, "counts": counts.tolist()}
