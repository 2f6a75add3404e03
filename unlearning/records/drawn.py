"""The summary of a finished run, drawn from the files in its folder: jobs of a sweep leave that until it is wanted."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from safetensors import safe_open
from torch import Tensor

from ..metrics.base import Evidence
from ..scenarios.saved import read_split
from . import summary_figure
from .names import PREDICTIONS, REFERENCES, SPLIT

MODELS = ("original", "retrained", "clean")


def image_of(figure: Figure) -> bytes:
    """A figure as PNG."""
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=150)
    return image.getvalue()


def summary_of(folder: Path) -> bytes:
    """``summary.png`` of the run in a folder, from its predictions and its split. Raises where these are not whole."""
    own, about = tensors(folder / PREDICTIONS)
    others, _ = tensors(next(folder.glob(f"{REFERENCES}*.safetensors")))
    split, _ = read_split(folder / SPLIT)
    first = Evidence(
        own["logits"], own["labels"], split, tuple(json.loads(about["classes"])), true_labels=own.get("true_labels")
    )
    rows = {model: first.of(others[f"{model} logits"]) for model in MODELS if f"{model} logits" in others}
    return image_of(summary_figure.summary_figure(rows | {"unlearned": first}))


def tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors in a safetensors file by name, and the facts about them."""
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
