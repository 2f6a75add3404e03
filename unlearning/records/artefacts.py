"""The files of a run that hold more than numbers: figures, index sets, predictions, weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator

import torch
from matplotlib.figure import Figure
from safetensors.torch import save
from torch import Tensor

from ..engine.evaluation import Result
from ..scenarios.saved import split_file
from . import summary_figure
from .drawn import image_of
from .epochs_figure import epochs_figure
from .layers_figure import layers_figure
from .names import EARLIER, GALLERY, PREDICTIONS, REFERENCES, SPLIT, SUMMARY, WEIGHTS


def figures(result: Result, asked: Collection[str] = ()) -> Iterator[tuple[str, Figure | None]]:
    """The figures of a run by the names of their files: those of what was measured, and those ``asked`` for."""
    if SUMMARY in asked:
        yield "summary.png", summary_figure.summary_figure(result.evidence)
    yield "noise.png", summary_figure.noise_figure(result.rows)
    yield "epochs.png", epochs_figure(result.curves, result.rows)
    yield "layers.png", layers_figure(result.evidence)
    for name in (name for name in asked if name != SUMMARY):  # their modules are imported only then
        if name == "losses":
            from .loss_figure import loss_figure

            yield "losses.png", loss_figure(result.evidence)
        elif name == "embeddings":
            from .embedding_figure import embedding_figure

            yield "embeddings.png", embedding_figure(result.evidence)
        elif name == "boundary":
            from .boundary_figure import boundary_figure

            yield "boundary.png", boundary_figure(result.evidence, result.dataset)
        else:
            from .gallery_figure import gallery_figure

            yield GALLERY, gallery_figure(result.evidence, result.dataset)


def contents(result: Result, asked: Collection[str] = ()) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file, one at a time, since weights may be large; with the figures ``asked`` for."""
    for name, figure in figures(result, asked):
        if figure is not None:
            yield name, image_of(figure)
    unlearned = result.evidence["unlearned"]
    yield SPLIT, split_file(unlearned.split, result.dataset)
    if unlearned.earlier is not None:
        yield EARLIER, save({"earlier": unlearned.earlier.clone()})
    own, references = predictions(result)
    target = unlearned.attack.target if unlearned.attack else None
    about: dict[str, object] = {"classes": list(result.dataset.classes), "target": target}
    if unlearned.features is not None:
        about["layers"] = {name: values.shape[1] for name, values in unlearned.features.layers.items()}
    yield PREDICTIONS, save(own, {name: json.dumps(fact) for name, fact in about.items()})
    content = save(references)
    yield f"{REFERENCES}{hashlib.sha256(content).hexdigest()[:16]}.safetensors", content
    state = unlearned.model.state_dict() if unlearned.model is not None else {}
    named = result.naming.written(state)
    yield WEIGHTS, save({name: tensor.detach().cpu().contiguous() for name, tensor in named.items()})


def predictions(result: Result) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """All that the metrics of predictions are functions of, besides the split: of this run, and of its references.

    Rows are sample ids. Of each model there are ``<model> logits`` and, where a trigger was planted, ``<model>
    triggered``, on the test images with the trigger in the order of the test set. Those of the unlearned model have no
    prefix. ``true_labels`` are there where ``labels``, as taught, differ from them. Where metrics needed features,
    there are ``<model> features`` of the samples ``feature_ids``, and ``<model> layers`` with the outputs of all blocks
    side by side.
    """
    found = {"labels": result.dataset.labels, "true_labels": result.dataset.clean_labels}
    for model, evidence in result.evidence.items():
        prefix = "" if model == "unlearned" else f"{model} "
        found |= {f"{prefix}logits": evidence.logits, f"{prefix}triggered": evidence.triggered}
        if evidence.features is not None:
            found |= {f"{prefix}features": evidence.features.values, "feature_ids": evidence.features.ids}
            if evidence.features.layers:
                found[f"{prefix}layers"] = torch.cat([*evidence.features.layers.values()], 1)
    found["untrained logits"] = result.evidence["unlearned"].untrained
    given = {name: tensor for name, tensor in found.items() if tensor is not None}
    references = {name: given.pop(name) for name in list(given) if " " in name}
    return given, references
