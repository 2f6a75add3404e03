"""Samples that a method forgot, did not forget, and forgot although a retrained model still knows them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from ..data.datasets import Dataset
from ..metrics.base import Evidence
from .drawing import shortened

SHOWN = 8  # of each kind
CELL, LINE, WORDS, EDGE = 1.25, 1.85, 0.4, 0.06  # inches: of an image, a kind, a kind without images, a margin
LETTERS = 15  # of a class's name above an image


def kinds(rows: Mapping[str, Evidence]) -> dict[str, Tensor]:
    """Ids of the samples of each kind, by a title that says what it is.

    With a retrained model, a sample is *forgotten* where both are wrong and the original was right, *not forgotten*
    where the unlearned model alone is right, and *over-forgotten*, also among the retained samples, where it alone is
    wrong. Without one, the original takes its place: what the unlearned model still has right is not forgotten, and
    what is over-forgotten are retained samples.
    """
    right = {name: row.logits.argmax(-1) == row.labels for name, row in rows.items()}
    split, now = rows["unlearned"].split, right["unlearned"]
    before, aim = right.get("original", torch.ones_like(now)), right.get("retrained")
    forget, both = split.forget, torch.cat([split.forget, split.retain])
    if aim is None:
        return {
            "forgotten: the original was right": chosen(forget, before & ~now),
            "not forgotten: still right": chosen(forget, now),
            "over-forgotten: retained (blue), and wrong now": chosen(split.retain, before & ~now),
        }
    return {
        "forgotten: as wrong as the retrained model": chosen(forget, before & ~now & ~aim),
        "not forgotten: right, the retrained model is wrong": chosen(forget, now & ~aim),
        "over-forgotten: wrong, the retrained model is right; blue where it was to be retained": chosen(
            both, ~now & aim
        ),
    }


def chosen(ids: Tensor, where: Tensor) -> Tensor:
    """The ids where a (N,) mask holds."""
    return ids[where[ids]]


def gallery_figure(rows: Mapping[str, Evidence], data: Dataset) -> Figure | None:
    """A row of images for each kind of sample, each with its label and the unlearned model's prediction.

    At most ``SHOWN`` of a kind are shown, evenly spaced, with the number of all. None where the samples are not images.
    """
    if len(data.input_shape) != 3:
        return None
    evidence, found = rows["unlearned"], kinds(rows)
    width, height = SHOWN * CELL, sum(LINE if len(ids) else WORDS for ids in found.values())
    figure = Figure(figsize=(width, height), dpi=110)
    FigureCanvasAgg(figure)
    forgotten = set(evidence.split.forget.tolist())
    top = height  # inches from below
    for title, ids in found.items():
        kind, _, meaning = title.partition(": ")
        words = f"{kind} ({len(ids):,}): {meaning}"
        figure.text(EDGE / width, (top - 0.1) / height, words, va="top", fontsize=10, fontweight="bold")
        shown = ids[torch.linspace(0, len(ids) - 1, min(SHOWN, len(ids))).long()].tolist()
        for column, number in enumerate(shown):
            left, bottom, side = column * CELL + EDGE, top - LINE + EDGE, CELL - 2 * EDGE
            axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
            draw_sample(axes, data, number, evidence, number in forgotten)
        top -= LINE if len(ids) else WORDS
    return figure


def draw_sample(axes: Axes, data: Dataset, number: int, evidence: Evidence, forgotten: bool) -> None:
    """Draw one image with its label and what it is predicted to be, in blue where it is to be retained."""
    pixels = shown_pixels(data, number)
    axes.imshow(pixels, cmap="gray" if pixels.ndim == 2 else None, vmin=0, vmax=1, interpolation="nearest")
    label, predicted = int(evidence.labels[number]), int(evidence.logits[number].argmax())
    names = [shortened(data.classes[number], LETTERS) for number in (label, predicted)]
    axes.set_axis_off()
    axes.set_title(f"{names[0]}\n> {names[1]}", fontsize=7.5, pad=2, color="black" if forgotten else "#0072b2")


def shown_pixels(data: Dataset, number: int) -> np.ndarray:
    """(H, W) or (H, W, 3) values in [0, 1] of an image; floats are scaled to their own range."""
    sample = data.inputs[number]
    if data.has_pixels:
        values = sample.numpy() / 255
    else:
        values = sample.permute(1, 2, 0).double().numpy()
        values = (values - values.min()) / max(values.max() - values.min(), 1e-12)
    return values if values.shape[-1] == 3 else values[..., 0]
