"""How alike the unlearned model's blocks are to each block of the original and of the retrained model."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..metrics.base import Evidence
from ..metrics.features import Features
from .drawing import canvas, shortened

MOST = 20  # blocks that are named at an axis


def layers_figure(evidence: Mapping[str, Evidence]) -> Figure | None:
    """Linear CKA of each pair of blocks, on the forget and on the retain set; None where there are no layers."""
    unlearned = evidence["unlearned"]
    references = {
        name: found.features
        for name, found in evidence.items()
        if name in ("original", "retrained") and found.features is not None and found.features.layers
    }
    if not references or unlearned.features is None:
        return None
    figure, panels = canvas(len(references), 2, 3.6, 3.0)
    for row, (name, features) in zip(panels, references.items(), strict=True):
        for axes, part in zip(row, ("forget", "retain"), strict=True):
            rows = unlearned.features.among(unlearned.split.sets[part])
            values = similarities(unlearned.features, features, rows)
            image = axes.imshow(values, vmin=0, vmax=1, cmap="viridis", origin="lower")
            axes.set_title(f"CKA on the {part} set", fontsize=9)
            axes.set_xlabel(f"block of the {name} model", fontsize=8)
            axes.set_ylabel("of the unlearned model", fontsize=8)
            names = [shortened(block) for block in features.layers]
            step = -(-len(names) // MOST)
            places = range(0, len(names), step)
            axes.set_xticks(places, names[::step], rotation=90, fontsize=7)
            axes.set_yticks(places, names[::step], fontsize=7)
            figure.colorbar(image, ax=axes, shrink=0.8)
    return figure


def similarities(own: Features, other: Features, ids: Tensor) -> Tensor:
    """(L, L) linear CKA of each block of one model with each of another; NaN where an output does not vary."""
    pair = [[centred(features.of_layer(block, ids)) for block in features.layers] for features in (own, other)]
    return torch.tensor([[((x.T @ y) ** 2).sum().item() for y in pair[1]] for x in pair[0]])


def centred(values: Tensor) -> Tensor:
    """The values (n, D) around their mean, scaled so that ``|X'X|`` is 1."""
    around = values - values.mean(0)
    return around / (around.T @ around).norm().sqrt()
