"""The files of a run that hold more than numbers: figures, index sets, predictions, weights."""

from __future__ import annotations

import io
from collections.abc import Iterator

from safetensors.torch import save

from ..engine.evaluation import Result
from ..scenarios.saved import split_file
from .names import PREDICTIONS, SPLIT, WEIGHTS
from .summary_figure import noise_figure, summary_figure


def contents(result: Result) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file, one at a time, since weights may be large."""
    figures = {"summary.png": summary_figure(result.evidence), "noise.png": noise_figure(result.rows)}
    for name, figure in figures.items():
        if figure is not None:
            image = io.BytesIO()
            figure.savefig(image, format="png", dpi=150)
            yield name, image.getvalue()
    unlearned = result.evidence["unlearned"]
    yield SPLIT, split_file(unlearned.split, result.dataset)
    yield PREDICTIONS, save({"logits": unlearned.logits, "labels": result.dataset.labels})
    state = unlearned.model.state_dict() if unlearned.model is not None else {}
    yield WEIGHTS, save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})
