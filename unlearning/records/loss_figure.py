"""Histograms of the loss: the forget set of each model beside unseen samples."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..metrics.base import Evidence
from ..metrics.membership import auc, loss, non_members
from .drawing import COLOURS, canvas

SMALLEST, LARGEST = 1e-6, 100.0  # losses beyond are drawn at these: a loss may be 0, and cannot be then on a log scale
UNSEEN = {True: "unseen samples of its kind", False: "test samples"}


def loss_figure(rows: Mapping[str, Evidence]) -> Figure:
    """The distribution of the cross-entropy, a panel for each model: the forget set filled, unseen samples as a line.

    Where a model has not learned the forget set, the two coincide. ``rows`` holds the evidence about each model.
    """
    rows = {name: rows[name] for name in COLOURS if name in rows}
    split = next(iter(rows.values())).split
    values = {name: [losses(row, ids) for ids in (split.forget, non_members(split))] for name, row in rows.items()}
    figure, panels = canvas(1, len(rows), 4.2, 3.4)
    smallest = min((len(part) for pair in values.values() for part in pair if len(part)), default=1)
    low, high = decades([part for pair in values.values() for part in pair])
    edges = np.geomspace(low, high, int(np.clip(2 * np.sqrt(smallest), 16, 48)) + 1)
    shared = max(draw_losses(axes, name, values[name], edges) for axes, name in zip(panels[0], rows, strict=True))
    for axes in panels[0]:
        axes.set(xscale="log", xlim=(low, high), ylim=(0, 1.28 * shared), xlabel="cross-entropy (nats)")
        axes.set_yticks([tick for tick in axes.get_yticks() if 0 <= tick <= shared + 1e-9])  # no fraction is above 1
        axes.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_ylabel("fraction of samples")
    unseen = UNSEEN[bool(split.forget_classes or len(split.test_forget))]
    figure.suptitle(f"Loss of the forget set (filled) and of {unseen} (line)", fontsize=11)
    return figure


def decades(parts: list[np.ndarray]) -> tuple[float, float]:
    """The powers of ten that enclose all values."""
    pooled = np.concatenate(parts)
    if not len(pooled):
        return SMALLEST, LARGEST
    low, high = np.floor(np.log10(pooled.min())), np.ceil(np.log10(pooled.max()))
    return float(10**low), float(10 ** max(high, low + 1))


def losses(row: Evidence, ids: torch.Tensor) -> np.ndarray:
    """The losses of some samples, within the figure; those that are not finite are left out."""
    found = loss(row.logits[ids].double(), row.labels[ids])
    return found[found.isfinite()].clamp(SMALLEST, LARGEST).numpy()


def draw_losses(axes: Axes, name: str, pair: list[np.ndarray], edges: np.ndarray) -> float:
    """Draw one model's two histograms; returns the height of the largest bar."""
    forget, unseen = pair
    axes.set_title(name, color=COLOURS[name], fontsize=11, fontweight="bold")
    if not len(forget) or not len(unseen):
        axes.text(0.5, 0.5, "nothing to compare", transform=axes.transAxes, ha="center")
        return 1.0
    each = [np.full(len(part), 1 / len(part)) for part in pair]
    filled, _, _ = axes.hist(forget, edges.tolist(), weights=each[0], color=COLOURS[name], alpha=0.55)
    line, _, _ = axes.hist(unseen, edges.tolist(), weights=each[1], histtype="step", color="black", lw=1.2)
    area = auc(-torch.from_numpy(forget), -torch.from_numpy(unseen))
    note = f"AUC {area:.2f}\nmedians {middle(forget)}, {middle(unseen)}"
    axes.text(0.02, 0.97, note, transform=axes.transAxes, va="top", fontsize=9)
    return float(max(np.max(filled), np.max(line)))


def middle(values: np.ndarray) -> str:
    """The median of losses, in words."""
    median = float(np.median(values))
    return f"{median:.2g}" if median > SMALLEST else f"below {SMALLEST:.0e}"
