"""How far samples are from the decision boundary of each model, and the nearest points that were found there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from ..data.datasets import Dataset
from ..gradients.sign_attack import Boundary, Box, SignAttack
from ..metrics.base import Evidence, given
from ..metrics.membership import non_members
from ..scenarios.base import every
from .drawing import COLOURS, shortened

VALUES = 2**20  # in the samples of a set together: of large images, fewer are looked at
LEAST, MOST = 8, 64  # samples of a set
SEARCH = SignAttack(radius=0.5, steps=25, step_size=0.02)
SHOWN = 7  # samples whose points are drawn
WIDTH, CURVES, CELL = 10.5, 3.7, 1.55  # inches: of the figure, and the heights of the curves and of a row of images
STYLES = {"forget": ("-", 1.6), "unseen": ("--", 1.0)}
NORMS = {"largest": "Largest change (L-infinity)", "euclidean": "Euclidean distance (L2)"}


class Search(NamedTuple):
    """The search from some samples to the boundary of a model."""

    found: Boundary
    before: Tensor  # (B,) the classes that the model gives to the samples
    after: Tensor  # (B,) and to the points


Searches = Mapping[str, Mapping[str, Search]]  # by model and set


def boundary_figure(rows: Mapping[str, Evidence], data: Dataset) -> Figure | None:
    """The share of samples whose class changes within a distance, and points of the forget set at the boundary.

    For each model a search in pixel space, ``SignAttack.boundary``, starts from samples of the forget set and from
    unseen ones of its kind, and leads away from the class that the model gives to them, right or wrong: by at most 25
    steps of .02 along the sign of the gradient, and a halving of the line to the first point of another class. The
    distances are the largest change of a pixel (L-infinity) and the Euclidean norm of all changes (L2): upper bounds of
    those to the nearest point. A sample whose class does not change within .5 has no distance, so a curve may end below
    1. Forget samples that lie deeper in a class than they do for the retrained model have been pushed there.

    At most ``MOST`` samples of each set are looked at, and of large images as many as hold ``VALUES`` values together,
    but ``LEAST``; each takes at most 65 passes forward and 25 backward through each model, which are no cost of the
    method. Where the samples are images, ``SHOWN`` of the forget set are drawn, with the points that were found. None
    where there is no model, or none with finite logits.
    """
    rows = {name: rows[name] for name in COLOURS if name in rows}
    rows = {name: row for name, row in rows.items() if row.model is not None and row.logits.isfinite().all()}
    if not rows:
        return None
    first, size, box = next(iter(rows.values())), math.prod(data.input_shape), Box(*data.bounds)
    limit = int(np.clip(VALUES // size, LEAST, MOST))
    sets = {"forget": every(limit, first.split.forget), "unseen": every(limit, non_members(first.split))}
    batch = max(1, min(limit, VALUES // size))
    found = {
        name: {part: search(row, ids, box, batch) for part, ids in sets.items() if len(ids)}
        for name, row in rows.items()
    }
    height = (1 + len(rows)) * CELL if len(data.input_shape) == 3 else 0.0
    figure = Figure(figsize=(WIDTH, CURVES + height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    if not height:
        draw_curves(figure, found, "in ranges of the features")
        return figure
    top, bottom = np.asarray(figure.subfigures(2, 1, height_ratios=(CURVES, height))).tolist()
    draw_curves(top, found, "in pixels from 0 to 1")
    draw_points(bottom, rows, {name: parts["forget"] for name, parts in found.items()}, sets["forget"], box)
    return figure


def search(row: Evidence, ids: Tensor, box: Box, batch: int) -> Search:
    """The search from the samples ``ids`` to the boundary of a model, in batches."""
    network = given(row.model).eval()
    like = next(network.parameters())
    box = box.to(like)

    def logits(pixels: Tensor) -> Tensor:
        answer: Tensor = network(box.inputs(pixels))
        return answer

    parts, before, after = list[Boundary](), list[Tensor](), list[Tensor]()
    for some in ids.split(batch):
        pixels = box.pixels(given(row.images)(some).to(like))
        with torch.no_grad():
            before.append(logits(pixels).argmax(1))
            parts.append(SEARCH.boundary(logits, pixels, before[-1]))
            after.append(logits(parts[-1].points).argmax(1))
    found = Boundary(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
    return Search(found, torch.cat(before), torch.cat(after))


def draw_curves(figure: Figure | SubFigure, found: Searches, unit: str) -> None:
    """Draw the share of samples whose class changes within a distance, in both norms."""
    panels = figure.subplots(1, 2)
    for axes, (norm, title) in zip(panels, NORMS.items(), strict=True):
        farthest = 0.0
        for place, (name, parts) in enumerate(found.items()):
            for part, (boundary, _, _) in parts.items():
                distances = getattr(boundary, norm)[boundary.crossed].double().sort().values.tolist()
                farthest = max(farthest, *distances, 0.0)
                share = np.arange(len(distances) + 1) / len(boundary.crossed)
                dashes, width = STYLES[part]
                width += 1.1 * (len(found) - 1 - place)  # so that of equal curves each is seen
                axes.step(
                    [0.0, *distances, 1e9],
                    [*share, share[-1]],
                    where="post",
                    ls=dashes,
                    lw=width,
                    color=COLOURS[name],
                    label=f"{name}, {part} ({len(boundary.crossed)})",
                )
        axes.set(xlim=(0, 1.05 * farthest or 1.0), ylim=(0, 1.03), xlabel=unit)
        axes.set_title(title, fontsize=11)
        axes.grid(color="#e5e5e5")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("share whose class changes")
    lines = panels[0].get_legend_handles_labels()
    figure.legend(*lines, loc="outside lower center", ncols=len(found), frameon=False, fontsize=8.5)


def draw_points(
    figure: SubFigure, rows: Mapping[str, Evidence], found: Mapping[str, Search], ids: Tensor, box: Box
) -> None:
    """Draw samples of the forget set, and below each its point at the boundary of each model, and its class there."""
    first, shown = next(iter(rows.values())), every(SHOWN, torch.arange(len(ids)))
    panels = figure.subplots(1 + len(rows), SHOWN, squeeze=False)
    for axes in panels.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    panels[0, 0].set_ylabel("sample", fontweight="bold")
    samples = box.pixels(given(first.images)(ids[shown]))
    for axes, pixels, label in zip(panels[0], samples, first.labels[ids[shown]].tolist(), strict=False):
        draw_image(axes, pixels, shortened(first.classes[label]))
    for line, (name, (boundary, before, after)) in zip(panels[1:], found.items(), strict=True):
        line[0].set_ylabel(name, color=COLOURS[name], fontweight="bold")
        for axes, number in zip(line, shown.tolist(), strict=False):
            classes = [shortened(first.classes[place[number]]) for place in (before, after)]
            distance = f"{float(boundary.largest[number]):.2g}"
            end = f"> {classes[1]}, {distance}" if boundary.crossed[number] else "not left"
            draw_image(axes, boundary.points[number], f"{classes[0]}\n{end}")


def draw_image(axes: Axes, pixels: Tensor, words: str) -> None:
    """Draw an image (C, H, W) of values in [0, 1] below some words."""
    values = pixels.float().clamp(0, 1).permute(1, 2, 0).numpy()
    if values.shape[-1] != 3:
        values = values[..., 0]
    axes.imshow(values, cmap="gray" if values.ndim == 2 else None, vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(words, fontsize=7.5, pad=2)
