"""Where models put the samples: their features in two dimensions, in one layout for all models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.linalg import orthogonal_procrustes
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from torch import Tensor

from ..metrics.base import Evidence, given
from ..models.head import heads_of, heard
from ..scenarios.base import every
from .drawing import COLOURS, canvas, shortened

FORGET, RETAIN = 150, 350  # samples shown
BATCH = 64
DIMENSIONS = 50  # to which features are brought before the layout
NAMED = 10  # where there are more classes, retained samples are grey
GREY = "#c4c4c4"


def embedding_figure(rows: Mapping[str, Evidence]) -> Figure | None:
    """The features before the head, a panel for each model: forget samples are stars, wrong ones have an outline.

    The samples are at most ``FORGET`` of the forget and ``RETAIN`` of the retain set. All models share one layout, by
    t-SNE (van der Maaten and Hinton, 2008), and by UMAP in a second row where the package ``umap`` is installed. So
    that their positions can be compared, each model's features are centred, scaled, and turned to lie as near as
    possible to those of the first model on the retained samples (Procrustes): networks that differ by a rotation of
    their features look the same. None where no model is at hand, or fewer than four samples.
    """
    rows = {name: rows[name] for name in COLOURS if name in rows and rows[name].model is not None}
    if not rows:
        return None
    split = next(iter(rows.values())).split
    forget, retain = every(FORGET, split.forget), every(RETAIN, split.retain)
    ids = torch.cat([retain, forget])
    if len(ids) < 4:
        return None
    found = aligned([features(row, ids) for row in rows.values()], len(retain))
    stacked = np.concatenate(found)
    if stacked.shape[1] > DIMENSIONS < len(stacked):
        stacked = PCA(DIMENSIONS, random_state=0).fit_transform(stacked)
    layouts = {name: layout(stacked) for name, layout in LAYOUTS.items() if name != "UMAP" or find_spec("umap")}
    figure, panels = canvas(len(layouts), len(rows), 4.2, 4.0)
    for (kind, places), line in zip(layouts.items(), panels, strict=True):
        low, high = places.min(0), places.max(0)
        for axes, (name, row), part in zip(line, rows.items(), np.split(places, len(rows)), strict=True):
            draw_samples(axes, row, ids, part, len(retain))
            axes.set_title(name, color=COLOURS[name], fontsize=11, fontweight="bold")
            margin = 0.04 * (high - low)
            axes.set(xlim=(low[0] - margin[0], high[0] + margin[0]), ylim=(low[1] - margin[1], high[1] + margin[1]))
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel(kind)
    handles = dict(zip(*reversed(panels[0][0].get_legend_handles_labels()), strict=True))
    columns = int(figure.get_figwidth() / (0.6 + 0.08 * max(map(len, handles))))
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside lower center",
        ncols=max(1, min(7, columns)),
        frameon=False,
        fontsize=8.5,
    )
    return figure


@torch.inference_mode()
def features(row: Evidence, ids: Tensor) -> np.ndarray:
    """(len(ids), D) inputs of the head of a model, averaged over positions where they are maps."""
    network, found = given(row.model).eval(), list[Tensor]()
    like = next(network.parameters())
    parts = [given(row.images)(part).to(like) for part in ids.split(BATCH)]
    with heard(heads_of(network, parts[0][:1]), found):
        for part in parts:
            network(part)
    return torch.cat(found).float().cpu().numpy()


def aligned(models: list[np.ndarray], retained: int) -> list[np.ndarray]:
    """The models' features (n, D), centred, of unit mean square, and turned towards the first model's.

    The first ``retained`` samples decide the centre, the scale and the turn.
    """
    found: list[np.ndarray] = []
    for values in models:
        own = values[:retained] if retained > 1 else values
        values = (values - own.mean(0)) / max(float(np.linalg.norm(own - own.mean(0)) / len(own) ** 0.5), 1e-12)
        if found:
            turn, _ = orthogonal_procrustes(*(part[: len(own)].astype(np.float64) for part in (values, found[0])))
            values = values @ turn
        found.append(values)
    return found


def tsne(values: np.ndarray) -> np.ndarray:
    """(n, 2) by t-SNE."""
    perplexity = min(30.0, (len(values) - 1) / 3)
    found: np.ndarray = TSNE(perplexity=perplexity, init="pca", random_state=0, n_jobs=1).fit_transform(values)
    return found


def umap(values: np.ndarray) -> np.ndarray:
    """(n, 2) by UMAP."""
    from umap import UMAP

    found: np.ndarray = UMAP(n_neighbors=min(15, len(values) - 1), random_state=0, n_jobs=1).fit_transform(values)
    return found


LAYOUTS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {"t-SNE": tsne, "UMAP": umap}


def draw_samples(axes: Axes, row: Evidence, ids: Tensor, places: np.ndarray, retained: int) -> None:
    """Draw the samples: retained ones as dots, those to forget as stars, wrong ones with a black outline."""
    labels, colours = row.labels[ids].numpy(), class_colours(row, len(row.classes) > NAMED)
    apart = len(set(colours.values())) == len(colours)  # or else all that is to be forgotten has one colour
    wrong = (row.logits[ids].argmax(-1) != row.labels[ids]).numpy()
    forget = np.arange(len(ids)) >= retained
    styles: dict[bool, dict[str, Any]] = {False: {"s": 13, "marker": "o"}, True: {"s": 58, "marker": "*"}}
    for starred, style in styles.items():
        for outlined in (False, True):
            here = (forget == starred) & (wrong == outlined)
            shades = [
                colours.get(label, GREY) if starred or len(row.classes) <= NAMED else GREY for label in labels[here]
            ]
            edges = "black" if outlined else "none"
            axes.scatter(*places[here].T, color=shades, edgecolors=edges, linewidths=0.7, zorder=2 + starred, **style)
    if len(row.classes) <= NAMED:
        for number, name in enumerate(row.classes):
            axes.scatter([], [], s=20, color=[colours[number]], label=shortened(name, 22))
    else:
        axes.scatter([], [], s=20, color=GREY, label=f"retained, of {len(row.classes)} classes")
        for number in colours if apart else ():
            axes.scatter([], [], s=58, marker="*", color=[colours[number]], label=shortened(row.classes[number], 22))
    shade = "#555555" if apart else next(iter(colours.values()))
    axes.scatter([], [], s=58, marker="*", color=[shade], label="to be forgotten")
    axes.scatter([], [], s=20, color="white", edgecolors="black", linewidths=0.7, label="classified wrongly")


def class_colours(row: Evidence, many: bool) -> dict[int, Any]:
    """A colour for each class; of many, for those that are to be forgotten, all the same where they are many, too."""
    from matplotlib import color_sequences

    palette = [colour for colour in color_sequences["tab10"] if len(set(colour)) > 1]  # no grey
    palette.append((0.0, 0.0, 0.45))
    numbers = row.labels[row.split.forget].unique().tolist() if many else range(len(row.classes))
    return dict(zip(numbers, palette if len(numbers) <= len(palette) else [palette[1]] * len(numbers), strict=False))
